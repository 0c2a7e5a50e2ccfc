//! Raw frames of real encoders become FLV that a real decoder reads the same.

use std::path::Path;
use std::process::Command;

use futures_lite::future::{block_on, zip};
use xp2p_proto::camera::PushFrameError;
use xp2p_proto::flv::{
    FileHeader, Frame, FrameError, FrameKind, FrameLimits, FrameMuxer, G711Law, Muxer, Tag, TagKind,
    TagReader, VideoCodec, VideoHead, VideoKind, VideoPacket,
};
use xp2p_proto::live::PushError;
use xp2p_proto::request::{Live, Quality};
use xp2p_smol::driver::camera::CameraHandle;
use xp2p_smol::driver::viewer::ServiceEvent;
use xp2p_tests::local::{Home, viewer};
use xp2p_tests::processes::TempDir;

const RATE: u32 = 25;
const SECONDS: u32 = 3;
const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Runs ffmpeg or ffprobe, which must have nothing to complain of, and gives its output.
fn tool(dir: &Path, name: &str, args: &str) -> String {
    let out = Command::new(name)
        .args(["-v", "error"])
        .args(args.split(' '))
        .current_dir(dir)
        .output()
        .expect("ffmpeg is installed (./test does that)");
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success() && errors.is_empty(), "{name} {args}: {errors}");
    String::from_utf8(out.stdout).expect("text")
}

/// Encodes a test picture; `params` must ask for access unit delimiters.
fn encode(dir: &Path, codec: &str, params: &str, file: &str) -> Vec<u8> {
    let source = format!("testsrc2=size=320x180:rate={RATE}:duration={SECONDS}");
    let args = format!("-f lavfi -i {source} -pix_fmt yuv420p -c:v {codec} -bf 0 -g 20 {params} {file}");
    tool(dir, "ffmpeg", &args);
    std::fs::read(dir.join(file)).expect("the file")
}

/// Cuts a stream before each access unit delimiter, which begins with `delimiter`.
fn access_units(stream: &[u8], delimiter: u8) -> Vec<&[u8]> {
    let mut starts: Vec<usize> = stream
        .windows(5)
        .enumerate()
        .filter(|(_, w)| w.starts_with(&START_CODE) && w[4] == delimiter)
        .map(|(at, _)| at)
        .collect();
    assert_eq!(starts.first(), Some(&0));
    starts.push(stream.len());
    starts.windows(2).map(|w| &stream[w[0]..w[1]]).collect()
}

fn pictures(muxer: &mut FrameMuxer, kind: VideoKind, units: &[&[u8]]) -> Vec<Tag> {
    let times = (0..).map(|n: u32| n * 1000 / RATE);
    units.iter().zip(times).flat_map(|(unit, at)| muxer.video(kind, unit, at, at).expect("a frame")).collect()
}

/// MD5 of each decoded picture.
fn digests(dir: &Path, file: &str) -> Vec<String> {
    let out = tool(dir, "ffmpeg", &format!("-i {file} -map 0:v -vsync passthrough -f framemd5 -"));
    let lines = out.lines().filter(|l| !l.starts_with('#'));
    lines.map(|l| l.rsplit(',').next().expect("a digest").trim().to_owned()).collect()
}

#[test]
fn h264_and_aac_become_a_file_that_decodes_to_the_same_pictures() {
    let dir = TempDir::new("raw-h264");
    let path = dir.path();
    let stream = encode(path, "libx264", "-x264-params aud=1", "in.h264");
    let sound = format!("sine=frequency=440:sample_rate=16000:duration={SECONDS}");
    tool(path, "ffmpeg", &format!("-f lavfi -i {sound} -c:a aac -f adts in.aac"));
    let adts = std::fs::read(path.join("in.aac")).expect("the file");

    let mut muxer = FrameMuxer::new(FrameLimits::default());
    let units = access_units(&stream, 9);
    assert_eq!(units.len(), (RATE * SECONDS) as usize);
    let mut tags = pictures(&mut muxer, VideoKind::H264, &units);
    tags.extend(muxer.aac(&adts, 0).expect("frames"));
    let headers = tags.iter().filter(|t| t.is_sequence_header()).count();
    assert_eq!(headers, 2, "one for pictures, one for sound");
    tags.sort_by_key(|t| t.timestamp);

    let mut file = Muxer::new();
    let mut out = file.header(FileHeader { has_audio: true, has_video: true }).to_vec();
    for tag in &tags {
        file.tag(tag).iter().for_each(|part| out.extend_from_slice(part));
    }
    std::fs::write(path.join("out.flv"), out).expect("a file");

    assert_eq!(tool(path, "ffmpeg", "-i out.flv -f null -"), "");
    let digests_in = digests(path, "in.h264");
    assert_eq!(digests_in.len(), units.len());
    assert_eq!(digests(path, "out.flv"), digests_in);
    let entries = "-count_packets -show_entries stream=codec_name,nb_read_packets -of csv=p=0";
    let streams = tool(path, "ffprobe", &format!("{entries} out.flv"));
    let frames = tags.iter().filter(|t| t.kind == TagKind::Audio).count() - 1;
    assert!(streams.contains(&format!("h264,{}", units.len())), "{streams}");
    assert!(streams.contains(&format!("aac,{frames}")), "{streams}");
    let sound = "-show_entries stream=sample_rate,channels -select_streams a -of csv=p=0 out.flv";
    assert_eq!(tool(path, "ffprobe", sound).trim(), "16000,1");
}

/// The first half as a thread of an encoder pushes it, the second as whoever has the machine at hand does. Then the feed
/// ends.
async fn push(camera: &CameraHandle, frames: Vec<Frame>) {
    let (errors, wrong) = async_channel::unbounded();
    let handle = camera.clone();
    let half = frames.len() / 2;
    let (first, second) = (frames[..half].to_vec(), frames[half..].to_vec());
    let encoder = std::thread::spawn(move || {
        let push = |channel, frame| {
            let errors = errors.clone();
            let tell = move |e| errors.try_send(e).expect("the test listens");
            handle.push_frame_blocking(channel, Quality::High, frame, tell).expect("the camera runs");
        };
        // What is wrong comes back, and what follows is taken all the same.
        push(7, first[0].clone());
        push(0, Frame::new(FrameKind::Video(VideoKind::H264), 0, &[0, 0, 1, 0x41, 0x9a][..]));
        first.into_iter().for_each(|frame| push(0, frame));
    });
    encoder.join().expect("the encoder");
    let pushed = camera.machine().call(move |camera, now| {
        let result = second.iter().try_for_each(|frame| camera.push_frame(now, 0, Quality::High, frame));
        camera.end_feed(now, 0, Quality::High);
        result
    });
    assert_eq!(pushed.await.expect("the camera runs"), Ok(()));
    let wrong: Vec<PushFrameError> = std::iter::from_fn(|| wrong.try_recv().ok()).collect();
    let expected = [PushFrameError::Feed(PushError::NoFeed), PushFrameError::Frame(FrameError::NotKeyframe)];
    assert_eq!(wrong, expected);
}

/// From the encoder's frames to what the viewer's player gets, over real sockets.
#[test]
fn frames_that_are_pushed_into_a_camera_are_what_a_viewer_decodes() {
    let dir = TempDir::new("raw-pushed");
    let path = dir.path();
    let stream = encode(path, "libx264", "-x264-params aud=1", "in.h264");
    let units = access_units(&stream, 9);
    let frames: Vec<Frame> = (0u32..)
        .zip(&units)
        .flat_map(|(n, unit)| {
            let at = n * 1000 / RATE;
            let picture = Frame::new(FrameKind::Video(VideoKind::H264), at, unit.to_vec());
            [picture, Frame::new(FrameKind::G711(G711Law::A), at, vec![0xd5; 320])]
        })
        .collect();
    let received = block_on(async {
        let local = "127.0.0.1:0".parse().expect("an address");
        let home = Home::new(local);
        let at = home.server.local_addr();
        let (camera, info) = home.camera(local, at, at, std::sync::Arc::new(())).await;
        let viewer = viewer(local);
        let (service, _, hub) = viewer.watch(info, Live::default()).await.expect("a stream");
        let mut player = hub.subscribe();
        // From here on nothing is missed.
        while !matches!(
            service.events.recv().await.expect("an event"),
            ServiceEvent::Parsed { status: 200, .. }
        ) {}
        let played = async {
            let mut bytes = Vec::new();
            while let Some(piece) = player.next_bytes().await {
                bytes.extend_from_slice(&piece);
            }
            bytes
        };
        let ((), bytes) = zip(push(&camera, frames), played).await;
        viewer.shutdown().await;
        camera.shutdown().await;
        home.server.shutdown().await;
        bytes
    });
    std::fs::write(path.join("out.flv"), received).expect("a file");
    assert_eq!(tool(path, "ffmpeg", "-i out.flv -f null -"), "");
    let digests_in = digests(path, "in.h264");
    assert_eq!(digests_in.len(), units.len());
    assert_eq!(digests(path, "out.flv"), digests_in, "each picture");
    let entries = "-count_packets -show_entries stream=codec_name,nb_read_packets -of csv=p=0";
    let streams = tool(path, "ffprobe", &format!("{entries} out.flv"));
    assert!(streams.contains(&format!("pcm_alaw,{}", units.len())), "each piece of sound: {streams}");
}

/// Appends NAL units that stand behind their lengths, with start codes.
fn append_nals(mut data: &[u8], out: &mut Vec<u8>) {
    while let Some((len, rest)) = data.split_first_chunk() {
        let (nal, rest) = rest.split_at(u32::from_be_bytes(*len) as usize);
        out.extend(START_CODE);
        out.extend(nal);
        data = rest;
    }
}

/// Appends the parameter sets of an HEVCDecoderConfigurationRecord (ISO/IEC 14496-15 section 8.3.3.1).
fn append_sets(record: &[u8], out: &mut Vec<u8>) {
    let (head, mut rest) = record.split_at(23);
    assert_eq!((head[0], head[21] & 3, head[22]), (1, 3, 3), "version, length of lengths, arrays");
    for _ in 0..head[22] {
        let count = rest[2];
        rest = &rest[3..];
        for _ in 0..count {
            let (nal, after) = rest[2..].split_at(usize::from(rest[0]) << 8 | usize::from(rest[1]));
            out.extend(START_CODE);
            out.extend(nal);
            rest = after;
        }
    }
    assert!(rest.is_empty());
}

/// ffmpeg before 6.1 reads no H.265 in FLV, so the tags are taken apart again.
#[test]
fn h265_comes_out_of_its_tags_as_it_went_in() {
    for format in ["yuv420p", "yuv422p10le"] {
        let dir = TempDir::new(&format!("raw-hevc-{format}"));
        let path = dir.path();
        let params = format!("-pix_fmt {format} -x265-params aud=1:log-level=none");
        let stream = encode(path, "libx265", &params, "in.hevc");
        let units = access_units(&stream, 35 << 1);
        assert_eq!(units.len(), (RATE * SECONDS) as usize);
        let mut muxer = FrameMuxer::new(FrameLimits::default());
        let tags = pictures(&mut muxer, VideoKind::H265, &units);

        let mut reader = TagReader::new(Default::default());
        let (mut out, mut headers, mut keys) = (Vec::new(), 0, 0);
        for tag in &tags {
            reader.push(tag.header().to_vec().into()).expect("room");
            reader.push(tag.body.clone()).expect("room");
            let tag = reader.poll().expect("a good tag").expect("a whole tag");
            let head = VideoHead::parse(&tag.body).expect("a good head");
            assert_eq!(head.codec, VideoCodec::Hevc);
            let data = &tag.body[head.payload..];
            if head.packet == VideoPacket::SequenceStart {
                headers += 1;
                let depth = if format == "yuv420p" { [0xfd, 0xf8, 0xf8] } else { [0xfe, 0xfa, 0xfa] };
                assert_eq!(data[16..19], depth, "chroma format and depths");
                append_sets(data, &mut out);
            } else {
                keys += u32::from(tag.is_keyframe());
                append_nals(data, &mut out);
            }
        }
        assert_eq!(headers, 1);
        assert_eq!(keys, (RATE * SECONDS).div_ceil(20));
        std::fs::write(path.join("out.hevc"), out).expect("a file");
        let digests_in = digests(path, "in.hevc");
        assert_eq!(digests_in.len(), units.len());
        assert_eq!(digests(path, "out.hevc"), digests_in);
    }
}
