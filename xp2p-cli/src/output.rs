//! What goes to standard output, and the line that shows how things stand.

use std::io::{IsTerminal as _, Write as _};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::Value;
use xp2p_proto::request::printable;

/// Prints a line on standard output at once. A reader that has gone away is no error of ours.
pub(crate) fn line(text: &str) {
    let mut out = std::io::stdout().lock();
    if let Err(e) = writeln!(out, "{text}").and_then(|()| out.flush()) {
        tracing::debug!("nobody reads standard output: {e}");
    }
}

/// Prints what a device has said: as it is for a program, and for a person without anything that steers the terminal.
pub(crate) fn foreign(text: &str) {
    if std::io::stdout().is_terminal() { line(&shown(text)) } else { line(text) }
}

/// A text of a device, safe to show: what is not [`printable`] is written out, except what ends lines and columns.
pub(crate) fn shown(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if printable(c) || matches!(c, '\n' | '\t') {
            shown.push(c);
        } else {
            shown.extend(c.escape_unicode());
        }
    }
    shown
}

/// Prints one JSON object on a line.
pub(crate) fn json(value: &Value) {
    line(&value.to_string());
}

/// A line at the bottom of the terminal, if there is one.
pub(crate) struct Status {
    bar: ProgressBar,
}

impl Status {
    pub(crate) fn new(wanted: bool) -> Self {
        let shown = wanted && std::io::stderr().is_terminal();
        let target = if shown { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
        let bar = ProgressBar::with_draw_target(None, target);
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar }
    }

    pub(crate) fn set(&self, text: String) {
        self.bar.set_message(text);
    }

    /// Prints a line above it on standard error.
    pub(crate) fn note(&self, text: &str) {
        self.bar.suspend(|| eprintln!("{text}"));
    }
}

impl Drop for Status {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_device_steers_the_terminal() {
        assert_eq!(shown("T\u{fc}r\t1\n\u{1b}[2J\u{9b}31m\r"), "T\u{fc}r\t1\n\\u{1b}[2J\\u{9b}31m\\u{d}");
    }
}
