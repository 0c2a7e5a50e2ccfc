//! Stores what viewers say.

use std::fs::File;
use std::io::{self, BufWriter, Seek as _, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use xp2p_driver::camera::VoiceSink;
use xp2p_proto::flv::{FileHeader, Muxer, Tag, TagKind};
use xp2p_proto::request::CallType;
use xp2p_proto::voice::{Decoded, VoiceDecoder, wav_header};

/// Where talk goes.
#[derive(Debug, Clone)]
pub(crate) struct VoiceOut {
    path: PathBuf,
    talks: Arc<AtomicU32>,
}

impl VoiceOut {
    pub(crate) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), talks: Arc::default() }
    }

    pub(crate) fn is_stdout(&self) -> bool {
        self.path == Path::new("-")
    }

    /// Begins the next talk.
    pub(crate) fn open(&self, calltype: CallType) -> VoiceFile {
        let number = self.talks.fetch_add(1, Ordering::Relaxed) + 1;
        let path = (!self.is_stdout()).then(|| numbered(&self.path, number));
        VoiceFile { path, video: calltype == CallType::Video, decoder: VoiceDecoder::default(), writer: None }
    }
}

/// The first talk has the name as given, the others their number before the ending.
fn numbered(path: &Path, number: u32) -> PathBuf {
    if number < 2 {
        return path.to_owned();
    }
    let mut name = path.file_stem().unwrap_or_default().to_owned();
    name.push(format!("-{number}"));
    if let Some(ending) = path.extension() {
        name.push(".");
        name.push(ending);
    }
    path.with_file_name(name)
}

enum Writer {
    /// 16-bit samples; the header is completed at the end.
    Wav {
        file: BufWriter<File>,
        rate: u32,
        channels: u8,
        bytes: u32,
    },
    Raw(io::Stdout),
    Flv {
        file: Box<dyn Write + Send>,
        muxer: Muxer,
    },
}

/// One talk.
pub(crate) struct VoiceFile {
    /// `None`: standard output.
    path: Option<PathBuf>,
    video: bool,
    decoder: VoiceDecoder,
    writer: Option<Writer>,
}

impl VoiceFile {
    /// What comes first decides: samples are stored as samples, everything else as FLV.
    fn begin(&self, decoded: Option<&Decoded>) -> io::Result<Writer> {
        let create =
            |ending: &str, path: &Path| File::create(path.with_extension(ending)).map(BufWriter::new);
        match (decoded, &self.path) {
            (Some(Decoded::Samples { .. }), None) if !self.video => Ok(Writer::Raw(io::stdout())),
            (Some(&Decoded::Samples { rate, channels, .. }), Some(path)) if !self.video => {
                let mut file = create("wav", path)?;
                file.write_all(&wav_header(rate, channels, None))?;
                Ok(Writer::Wav { file, rate, channels, bytes: 0 })
            }
            (_, path) => {
                let mut file: Box<dyn Write + Send> = match path {
                    Some(path) => Box::new(create("flv", path)?),
                    None => Box::new(io::stdout()),
                };
                let mut muxer = Muxer::new();
                file.write_all(&muxer.header(FileHeader { has_audio: true, has_video: self.video }))?;
                Ok(Writer::Flv { file, muxer })
            }
        }
    }

    fn write(&mut self, tag: Tag) -> io::Result<()> {
        let decoded = match tag.kind {
            TagKind::Audio => Some(self.decoder.decode(&tag).map_err(io::Error::other)?),
            _ => None,
        };
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                let writer = self.begin(decoded.as_ref())?;
                self.writer.insert(writer)
            }
        };
        let bytes_of = |samples: &[i16]| samples.iter().flat_map(|s| s.to_le_bytes()).collect::<Vec<u8>>();
        match (writer, decoded) {
            (Writer::Flv { file, muxer }, _) => {
                for piece in muxer.tag(&tag) {
                    file.write_all(&piece)?;
                }
            }
            (Writer::Raw(out), Some(Decoded::Samples { samples, .. })) => {
                out.write_all(&bytes_of(&samples))?;
                out.flush()?;
            }
            (Writer::Wav { file, bytes, .. }, Some(Decoded::Samples { samples, .. })) => {
                let data = bytes_of(&samples);
                file.write_all(&data)?;
                *bytes = bytes.saturating_add(u32::try_from(data.len()).unwrap_or(u32::MAX));
            }
            // A talk that changes from samples to something else: that part is not in the file.
            _ => return Err(io::Error::other("the sound changed its format in the middle of the talk")),
        }
        Ok(())
    }

    fn finish(&mut self) -> io::Result<()> {
        match self.writer.take() {
            Some(Writer::Wav { mut file, rate, channels, bytes }) => {
                file.seek(SeekFrom::Start(0))?;
                file.write_all(&wav_header(rate, channels, Some(bytes)))?;
                file.flush()
            }
            Some(Writer::Flv { mut file, .. }) => file.flush(),
            Some(Writer::Raw(mut out)) => out.flush(),
            None => Ok(()),
        }
    }
}

impl VoiceSink for VoiceFile {
    fn tag(&mut self, tag: Tag) -> io::Result<()> {
        self.write(tag)
    }

    fn end(mut self: Box<Self>, complete: bool) {
        match self.finish() {
            Ok(()) => tracing::info!(complete, "a talk is over"),
            Err(e) => eprintln!("error: cannot store what was said: {e}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_talks_get_numbers() {
        assert_eq!(numbered(Path::new("d/talk.wav"), 1), Path::new("d/talk.wav"));
        assert_eq!(numbered(Path::new("d/talk.wav"), 3), Path::new("d/talk-3.wav"));
        assert_eq!(numbered(Path::new("talk"), 2), Path::new("talk-2"));
    }
}
