//! Which characters of a peer may go to a person's terminal.

/// Whether `c` can be shown: no control character (terminal escapes begin with one), and none of those that hide or
/// reorder the text around them.
pub fn printable(c: char) -> bool {
    !c.is_control()
        && !matches!(c,
            '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}'
            | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}
