use proptest::prelude::*;

use super::*;

fn chunk(name: &[u8; 4], size: u32, body: &[u8]) -> Vec<u8> {
    [&name[..], &size.to_le_bytes(), body].concat()
}

fn fmt(format: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
    let frame = channels.wrapping_mul(bits / 8);
    let body = [
        &format.to_le_bytes()[..],
        &channels.to_le_bytes(),
        &rate.to_le_bytes(),
        &rate.wrapping_mul(frame.into()).to_le_bytes(),
        &frame.to_le_bytes(),
        &bits.to_le_bytes(),
    ]
    .concat();
    chunk(b"fmt ", 16, &body)
}

fn file(chunks: &[Vec<u8>]) -> Vec<u8> {
    let body = chunks.concat();
    [&b"RIFF"[..], &(body.len() as u32 + 4).to_le_bytes(), b"WAVE", &body].concat()
}

/// Reads a file at once and byte by byte, and proves that both give the same.
fn read(file: &[u8]) -> Result<(WavFormat, Vec<i16>, WavEnd), WavError> {
    let mut whole = WavReader::new();
    let at_once = whole.push(file).and_then(|samples| {
        let format = whole.format();
        whole.finish().map(|end| (format.unwrap(), samples, end))
    });
    let mut single = WavReader::new();
    let mut samples = Vec::new();
    let fed = file.iter().try_for_each(|b| {
        samples.extend(single.push(std::slice::from_ref(b))?);
        assert!(single.held.len() <= EXTENSIBLE_LEN);
        Ok(())
    });
    let bytewise = fed.and_then(|()| {
        let format = single.format();
        single.finish().map(|end| (format.unwrap(), samples, end))
    });
    match (&at_once, &bytewise) {
        // The piece that fails is another one.
        (Err(WavError::NotRiff { .. }), Err(WavError::NotRiff { .. })) => {}
        _ => assert_eq!(at_once, bytewise),
    }
    at_once
}

const PCM: WavFormat = WavFormat { codec: VoiceCodec::Pcm, rate: 8_000, channels: 1 };

fn end(frames: u64) -> WavEnd {
    WavEnd { frames, missing: 0, partial: 0 }
}

#[test]
fn the_header_is_the_one_of_the_specification() {
    let header = wav_header(44_100, 2, Some(1_000));
    let want = file(&[fmt(1, 2, 44_100, 16), chunk(b"data", 1_000, &[0; 1_000])]);
    assert_eq!(header[..], want[..WAV_HEADER_LEN]);
}

#[test]
fn the_header_of_an_unknown_length_has_the_greatest_sizes() {
    let header = wav_header(8_000, 1, None);
    assert_eq!((&header[4..8], &header[40..44]), (&[0xff; 4][..], &[0xff; 4][..]));
    let header = wav_header(8_000, 1, Some(u32::MAX - 20));
    assert_eq!(header[4..8], [0xff; 4], "the size of the file does not wrap");
    assert_eq!(header[40..44], (u32::MAX - 20).to_le_bytes());
    let extreme = wav_header(u32::MAX, u8::MAX, None);
    assert_eq!(extreme[28..34], [0xff, 0xff, 0xff, 0xff, 0xfe, 1]);
}

#[test]
fn the_three_codings_are_decoded() {
    let data = chunk(b"data", 4, &[1, 0, 0xfe, 0xff]);
    assert_eq!(read(&file(&[fmt(1, 1, 8_000, 16), data])), Ok((PCM, vec![1, -2], end(2))));
    let data = chunk(b"data", 4, &[0xd5, 0x55, 0x2a, 0xaa]);
    let alaw = WavFormat { codec: VoiceCodec::Alaw, rate: 8_000, channels: 2 };
    assert_eq!(read(&file(&[fmt(6, 2, 8_000, 8), data])), Ok((alaw, vec![8, -8, -32_256, 32_256], end(2))));
    let data = chunk(b"data", 3, &[0xff, 0x80, 0x00]);
    let mulaw = WavFormat { codec: VoiceCodec::Mulaw, rate: 16_000, channels: 1 };
    assert_eq!(read(&file(&[fmt(7, 1, 16_000, 8), data])), Ok((mulaw, vec![0, 32_124, -32_124], end(3))));
}

#[test]
fn other_chunks_are_skipped_with_their_padding() {
    let list = chunk(b"LIST", 5, b"INFOx\0");
    let empty = chunk(b"junk", 0, &[]);
    let data = chunk(b"data", 2, &[7, 0]);
    let file = file(&[list.clone(), fmt(1, 1, 8_000, 16), empty, list.clone(), data, list]);
    assert_eq!(read(&file), Ok((PCM, vec![7], end(1))), "and what follows the samples is no sound");
}

#[test]
fn longer_format_chunks_are_read() {
    let mut ex = fmt(6, 1, 8_000, 8);
    ex.extend([0, 0]);
    ex[4] = 18;
    let data = chunk(b"data", 1, &[0xd5]);
    let (format, samples, _) = read(&file(&[ex, data])).unwrap();
    assert_eq!((format.codec, samples), (VoiceCodec::Alaw, vec![8]));

    let extensible = |tag: u16, tail: &[u8], size: u32, padding: usize| {
        let mut chunk = fmt(0xfffe, 1, 8_000, 16);
        chunk[4..8].copy_from_slice(&size.to_le_bytes());
        chunk.extend([22, 0, 16, 0, 4, 0, 0, 0]);
        chunk.extend(tag.to_le_bytes());
        chunk.extend(tail);
        chunk.extend(vec![0; padding]);
        file(&[chunk, super::tests::chunk(b"data", 2, &[7, 0])])
    };
    for (size, padding) in [(40, 0), (41, 2), (MAX_FORMAT_CHUNK, MAX_FORMAT_CHUNK as usize - 40)] {
        assert_eq!(read(&extensible(1, &GUID_TAIL, size, padding)), Ok((PCM, vec![7], end(1))));
    }
    let coding = |format| Err(WavError::Coding { offset: 12, format, bits: 16 });
    assert_eq!(read(&extensible(3, &GUID_TAIL, 40, 0)), coding(3));
    assert_eq!(read(&extensible(1, &[1; 14], 40, 0)), coding(0xfffe));
    for size in [0, 15, MAX_FORMAT_CHUNK + 1, u32::MAX] {
        let error = WavError::FormatSize { offset: 12, size };
        assert_eq!(read(&extensible(1, &GUID_TAIL, size, 0)), Err(error));
    }
}

#[test]
fn an_unknown_length_reads_until_the_end() {
    for size in [0, u32::MAX] {
        let file = file(&[fmt(1, 1, 8_000, 16), chunk(b"data", size, &[1, 0, 2, 0, 3])]);
        assert_eq!(read(&file), Ok((PCM, vec![1, 2], WavEnd { frames: 2, missing: 0, partial: 1 })));
    }
}

#[test]
fn a_file_that_ends_too_early_is_played_as_far_as_it_goes() {
    let file = file(&[fmt(1, 2, 8_000, 16), chunk(b"data", 12, &[1, 0, 2, 0, 3, 0])]);
    let (_, samples, end) = read(&file).unwrap();
    assert_eq!((samples, end), (vec![1, 2], WavEnd { frames: 1, missing: 6, partial: 2 }));
    for n in 4..WAV_HEADER_LEN {
        assert_eq!(read(&file[..n]), Err(WavError::Truncated { offset: n as u64 }));
    }
    assert!(read(&file[..WAV_HEADER_LEN]).unwrap().1.is_empty());
}

#[test]
fn a_data_chunk_that_ends_inside_a_frame_does_not_take_from_the_next_chunk() {
    let file = file(&[fmt(1, 1, 8_000, 16), chunk(b"data", 3, &[1, 0, 9, 0]), chunk(b"LIST", 2, &[1, 1])]);
    assert_eq!(read(&file), Ok((PCM, vec![1], WavEnd { frames: 1, missing: 0, partial: 1 })));
}

#[test]
fn what_does_not_begin_with_riff_can_be_read_as_raw_samples() {
    for input in [&b"RIFX\0\0\0\0"[..], b"RIF", b"R", b"", b"\0RIFF", b"RI\0\0\x01", b"fLaC", b"OggS"] {
        for cut in 0..=input.len() {
            let mut reader = WavReader::new();
            let mut given = 0;
            let mut error = None;
            for piece in [&input[..cut], &input[cut..]] {
                if let Err(e) = reader.push(piece) {
                    error = Some(e);
                    break;
                }
                given += piece.len();
            }
            let pushing = error.is_some();
            let error = error.unwrap_or_else(|| reader.finish().unwrap_err());
            let WavError::NotRiff { before } = error else { panic!("{error:?}") };
            assert_eq!(before, input[..given], "{input:?} cut at {cut}");
            assert!(pushing || given == input.len());
        }
    }
}

#[test]
fn a_reader_that_failed_stays_so() {
    let mut reader = WavReader::new();
    let error = Err(WavError::NotWave { found: *b"AVI " });
    assert_eq!(reader.push(b"RIFF\0\0\0\0AVI "), error);
    assert_eq!(reader.push(&[]), error);
    assert_eq!(reader.push(b"data"), error);
    assert_eq!(reader.finish().map(|_| vec![]), error);
}

#[test]
fn formats_that_are_not_read_are_named() {
    let read = |format, channels, rate, bits| {
        read(&file(&[chunk(b"LIST", 2, &[0; 2]), fmt(format, channels, rate, bits), chunk(b"data", 0, &[])]))
            .map(|r| r.0)
    };
    let offset = 22;
    for (format, bits) in [(0, 16), (1, 0), (1, 8), (1, 24), (3, 32), (6, 16), (7, 16), (0x11, 4), (0x55, 0)]
    {
        assert_eq!(read(format, 1, 8_000, bits), Err(WavError::Coding { offset, format, bits }));
    }
    for channels in [0, 3, 0x0101, u16::MAX] {
        assert_eq!(read(1, channels, 8_000, 16), Err(WavError::Channels { offset, channels }));
    }
    for rate in [0, MIN_RATE - 1, MAX_RATE + 1, u32::MAX] {
        assert_eq!(read(1, 1, rate, 16), Err(WavError::Rate { offset, rate }));
    }
    for rate in [MIN_RATE, 48_000, MAX_RATE] {
        assert_eq!(read(1, 2, rate, 16), Ok(WavFormat { codec: VoiceCodec::Pcm, rate, channels: 2 }));
    }
}

#[test]
fn format_and_samples_come_once_and_in_this_order() {
    let (fmt, data) = (fmt(1, 1, 8_000, 16), chunk(b"data", 2, &[1, 0]));
    assert_eq!(read(&file(std::slice::from_ref(&data))), Err(WavError::DataBeforeFormat { offset: 12 }));
    assert_eq!(read(&file(&[fmt.clone(), fmt, data])), Err(WavError::SecondFormat { offset: 36 }));
}

#[test]
fn no_chunk_may_put_the_samples_too_far_away() {
    let push = |bytes: &[u8]| WavReader::new().push(bytes).map(|_| ());
    let far = Err(WavError::DataTooFar { offset: 12 });
    for size in [u32::MAX, u32::MAX - 1, 1 << 31, MAX_BEFORE_DATA as u32] {
        assert_eq!(push(&file(&[chunk(b"LIST", size, &[])])), far);
    }
    let most = MAX_BEFORE_DATA as u32 - (RIFF_HEADER + 2 * CHUNK_HEADER) as u32;
    assert_eq!(push(&file(&[chunk(b"LIST", most, &[])])), Ok(()));
    assert_eq!(push(&file(&[chunk(b"LIST", most + 1, &[])])), far);

    // Many small ones come to an end too.
    let mut reader = WavReader::new();
    reader.push(b"RIFF\0\0\0\0WAVE").unwrap();
    let many = chunk(b"junk", 0, &[]).repeat(1 << 16);
    let error = (0..=MAX_BEFORE_DATA / many.len() as u64).find_map(|_| reader.push(&many).err()).unwrap();
    assert!(matches!(error, WavError::DataTooFar { offset } if offset < MAX_BEFORE_DATA), "{error}");
}

proptest! {
    #[test]
    fn what_is_written_is_read(
        rate in MIN_RATE..=MAX_RATE,
        sound in prop::collection::vec(any::<[i16; 2]>(), 0..500),
        channels in 1..=2_u8,
        known in any::<bool>(),
        cuts in prop::collection::vec(0..300_usize, 0..10),
    ) {
        let sound = sound.into_flattened();
        let data: Vec<u8> = sound.iter().flat_map(|s| s.to_le_bytes()).collect();
        let file = [&wav_header(rate, channels, known.then_some(data.len() as u32))[..], &data].concat();
        let mut reader = WavReader::new();
        let mut samples = Vec::new();
        let mut left = &file[..];
        for cut in cuts {
            let (now, later) = left.split_at(cut.min(left.len()));
            let part = reader.push(now).unwrap();
            prop_assert_eq!(part.len() % usize::from(channels), 0);
            samples.extend(part);
            left = later;
        }
        samples.extend(reader.push(left).unwrap());
        prop_assert_eq!(&samples, &sound);
        prop_assert_eq!(reader.format(), Some(WavFormat { codec: VoiceCodec::Pcm, rate, channels }));
        prop_assert_eq!(reader.finish(), Ok(end((sound.len() / usize::from(channels)) as u64)));
    }

    #[test]
    fn any_input_is_answered_alike_however_it_is_cut(
        mut bytes in prop::collection::vec(any::<u8>(), 0..20),
        chunks in prop::collection::vec(
            prop_oneof![
                (0..9_u16, 0..4_u16, any::<u16>(), prop::sample::select(vec![8, 16]))
                    .prop_map(|(f, c, r, b)| fmt(f, c, r.into(), b)),
                Just(fmt(1, 2, 8_000, 16)),
                (prop::sample::select(vec![*b"data", *b"LIST", *b"fmt "]), 0..50_u32,
                    prop::collection::vec(any::<u8>(), 0..50)).prop_map(|(n, s, b)| chunk(&n, s, &b)),
                prop::collection::vec(any::<u8>(), 0..20),
            ], 0..6),
        riff in prop::bool::weighted(0.9),
    ) {
        if riff {
            bytes = file(&chunks);
        }
        if let Ok((format, samples, end)) = read(&bytes) {
            prop_assert!(riff);
            prop_assert!(samples.len() <= bytes.len());
            prop_assert_eq!(samples.len() as u64, end.frames * u64::from(format.channels));
            prop_assert!(end.partial < 4);
        }
    }
}
