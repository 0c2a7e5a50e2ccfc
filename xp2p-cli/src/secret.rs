//! Secrets on the command line: as they are, from a file, or from standard input.

use std::io::Read as _;

use anyhow::{Context as _, Result, bail};

/// Longest secret that is read.
const MAX: u64 = 64 * 1024;

/// Resolves `@FILE`, `-` and plain text. Whitespace around it is cut off.
pub(crate) fn read(argument: &str, what: &str) -> Result<String> {
    let text = match argument.strip_prefix('@') {
        Some(path) => {
            let file =
                std::fs::File::open(path).with_context(|| format!("cannot read the {what} from {path}"))?;
            limited(file, what)?
        }
        None if argument == "-" => limited(std::io::stdin().lock(), what)?,
        None => argument.to_owned(),
    };
    let text = text.trim();
    if text.is_empty() {
        bail!("the {what} is empty");
    }
    Ok(text.to_owned())
}

fn limited(source: impl std::io::Read, what: &str) -> Result<String> {
    let mut text = String::new();
    source.take(MAX + 1).read_to_string(&mut text).with_context(|| format!("cannot read the {what}"))?;
    if text.len() as u64 > MAX {
        bail!("the {what} is longer than {MAX} bytes");
    }
    Ok(text)
}

/// Splits `ID:SECRET`. The error never shows the secret.
pub(crate) fn app_key(text: &str) -> Result<(String, String)> {
    match text.split_once(':') {
        Some((id, secret)) if !id.is_empty() && id.len() <= 64 && !secret.is_empty() => {
            Ok((id.to_owned(), secret.to_owned()))
        }
        _ => bail!("an app key is written ID:SECRET, the id with 1 to 64 bytes"),
    }
}

/// The app keys of several arguments; a file may hold one per line.
pub(crate) fn app_keys(arguments: &[String]) -> Result<Vec<(String, String)>> {
    let mut keys = Vec::new();
    for argument in arguments {
        let text = read(argument, "app key")?;
        for line in text.lines().map(str::trim).filter(|l| !l.is_empty() && !l.starts_with('#')) {
            keys.push(app_key(line)?);
        }
    }
    Ok(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bad_app_key_is_refused_without_being_shown() {
        let error = app_key("very-secret-without-colon").unwrap_err().to_string();
        assert!(!error.contains("very"), "{error}");
        assert!(app_key(":secret").is_err());
        assert_eq!(app_key("id:a:b").unwrap(), ("id".to_owned(), "a:b".to_owned()));
    }

    #[test]
    fn a_file_may_hold_several_keys() {
        let dir = std::env::temp_dir().join(format!("xp2p-secret-{}", std::process::id()));
        std::fs::write(&dir, "# keys\na:1\n\nb:2\n").unwrap();
        let keys = app_keys(&[format!("@{}", dir.display())]).unwrap();
        std::fs::remove_file(&dir).unwrap();
        assert_eq!(keys, [("a".to_owned(), "1".to_owned()), ("b".to_owned(), "2".to_owned())]);
    }
}
