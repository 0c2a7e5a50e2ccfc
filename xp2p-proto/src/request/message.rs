//! A device's message to a viewer: `GET /message?text=...` on a stream that the device opens.

use super::{HeadError, MAX_COMMAND, Params, RequestError, RequestHead};

/// The path of messages, the only one that a device asks for.
pub const MESSAGE_PATH: &str = "/message";
const ALLOWED: &str = "text of 1 to 16384 bytes";

/// The head that carries a message.
///
/// # Errors
///
/// The text is empty or longer than [`MAX_COMMAND`].
pub fn message_head(text: &str) -> Result<RequestHead, RequestError> {
    check(text)?;
    let mut params = Params::new();
    params.push("text", text)?;
    RequestHead::new(MESSAGE_PATH, params).map_err(RequestError::Head)
}

/// The message that a head carries.
///
/// # Errors
///
/// Another path, or no text.
pub fn message_text(head: &RequestHead) -> Result<String, RequestError> {
    if head.path() != MESSAGE_PATH {
        return Err(RequestError::Head(HeadError::Path));
    }
    let text = head.params.get("text").ok_or(RequestError::Missing { name: "text", allowed: ALLOWED })?;
    check(text)?;
    Ok(text.to_owned())
}

fn check(text: &str) -> Result<(), RequestError> {
    if text.is_empty() || text.len() > MAX_COMMAND {
        return Err(RequestError::Value { name: "text".to_owned(), allowed: ALLOWED });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_survives_the_wire() {
        let long = "é".repeat(MAX_COMMAND / 2);
        for text in ["{\"iv_private_cmd\":\"ring\"}", long.as_str()] {
            let head = message_head(text).unwrap();
            let read = RequestHead::from_target(&head.target()).unwrap();
            assert_eq!(message_text(&read).unwrap(), text);
        }
        assert!(message_head("").is_err());
        assert!(message_head(&"x".repeat(MAX_COMMAND + 1)).is_err());
        assert!(message_text(&RequestHead::from_target("/command?text=x").unwrap()).is_err());
    }
}
