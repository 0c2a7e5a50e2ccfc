//! What real programs say about what came out.

use std::ffi::OsStr;
use std::path::Path;
use std::process::Command;

/// The codecs that ffprobe finds in a file or at a URL, one a line.
pub fn streams(input: impl AsRef<OsStr>) -> String {
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-show_entries", "stream=codec_name", "-of", "csv=p=0"])
        .arg(input)
        .output()
        .expect("ffprobe is installed (./test does that)");
    assert!(output.status.success(), "ffprobe: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// What ffmpeg complains about when it decodes everything.
pub fn decode(file: &Path) -> String {
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-i"])
        .arg(file)
        .args(["-f", "null", "-"])
        .output()
        .expect("ffmpeg is installed (./test does that)");
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}
