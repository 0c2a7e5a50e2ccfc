//! The sharing switch, as `/TOKEN/feature` turns it.

use std::pin::Pin;
use std::sync::Arc;

use serde_json::json;

/// Whether a viewer passes on what it has, and whether it takes from others what it lacks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// Pass on.
    pub upload: bool,
    /// Take from others; everything comes from the origin otherwise.
    pub download: bool,
}

impl Default for Sharing {
    fn default() -> Self {
        Self { upload: true, download: true }
    }
}

impl Sharing {
    /// The same after a change.
    #[must_use]
    pub fn changed(self, change: Feature) -> Self {
        Self {
            upload: change.upload.unwrap_or(self.upload),
            download: change.download.unwrap_or(self.download),
        }
    }

    pub(super) fn to_json(self) -> String {
        json!({ "upload": self.upload, "download": self.download }).to_string()
    }
}

/// What `/TOKEN/feature?download=&upload=` asks to change; nothing: only to be told how it is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Feature {
    /// See [`Sharing::upload`].
    pub upload: Option<bool>,
    /// See [`Sharing::download`].
    pub download: Option<bool>,
}

/// Makes a change, and tells what holds after it.
pub type FeatureSwitch = Arc<dyn Fn(Feature) -> Pin<Box<dyn Future<Output = Sharing> + Send>> + Send + Sync>;

impl Feature {
    /// Reads a query. `None`: another name, a name twice, or a value that is neither on nor off.
    pub(super) fn parse(query: &str) -> Option<Self> {
        let mut feature = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=')?;
            let field = match name {
                "upload" => &mut feature.upload,
                "download" => &mut feature.download,
                _ => return None,
            };
            let on = match value {
                "1" | "on" | "true" => true,
                "0" | "off" | "false" => false,
                _ => return None,
            };
            if field.replace(on).is_some() {
                return None;
            }
        }
        Some(feature)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queries_are_read_strictly() {
        let feature = |upload, download| Some(Feature { upload, download });
        assert_eq!(Feature::parse(""), feature(None, None));
        assert_eq!(Feature::parse("download=0&upload=on"), feature(Some(true), Some(false)));
        assert_eq!(Feature::parse("upload=false"), feature(Some(false), None));
        for bad in ["upload", "upload=", "upload=2", "up=1", "upload=1&upload=1", "download=TRUE"] {
            assert_eq!(Feature::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_change_leaves_the_rest_as_it_is() {
        let off = Sharing::default().changed(Feature { upload: Some(false), download: None });
        assert_eq!(off, Sharing { upload: false, download: true });
        assert_eq!(off.changed(Feature::default()), off);
        assert_eq!(off.to_json(), r#"{"download":true,"upload":false}"#);
    }
}
