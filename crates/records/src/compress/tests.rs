//! Claims about the codecs: round trips, framings of other writers, budgets, hostile bytes.

use klamm_model::Compression;

use super::*;
use crate::testdata::Random;

const CODECS: [Compression; 4] = [
    Compression::Gzip,
    Compression::Snappy,
    Compression::Lz4,
    Compression::Zstd,
];

fn sample(bytes: usize) -> Vec<u8> {
    let mut random = Random(bytes as u64 + 1);
    (0..bytes)
        .map(|at| {
            if at % 3 == 0 {
                random.next() as u8
            } else {
                at as u8
            }
        })
        .collect()
}

#[test]
fn every_codec_gives_back_what_it_was_given() {
    let mut scratch = Scratch::new();
    for codec in Compression::ALL {
        for bytes in [1, 100, 32_768, 65_536, 65_537, 300_000] {
            let input = sample(bytes);
            let packed = Compressor::from(codec).compress(&input);
            let output = decompress(codec, &packed, bytes, &mut scratch);
            assert_eq!(output.as_deref(), Ok(&input[..]), "{codec:?} {bytes}");
        }
    }
}

#[test]
fn one_byte_above_the_budget_is_too_large() {
    let mut scratch = Scratch::new();
    for codec in Compression::ALL {
        let limit = 99_999;
        let packed = Compressor::from(codec).compress(&sample(limit + 1));
        let output = decompress(codec, &packed, limit, &mut scratch);
        assert_eq!(
            output,
            Err(DecompressError::TooLarge { limit }),
            "{codec:?}"
        );
    }
}

#[test]
fn a_bare_snappy_block_is_read_as_librdkafka_writes_it() {
    let input = sample(200_000);
    let bare = snap::raw::Encoder::new()
        .compress_vec(&input)
        .expect("small");
    let output = decompress(Compression::Snappy, &bare, 1 << 20, &mut Scratch::new());
    assert_eq!(output, Ok(input));
}

#[test]
fn a_snappy_size_beyond_what_its_bytes_can_yield_takes_no_memory() {
    // Claims 4 GiB minus one in a block of six bytes, bare and framed.
    let block = [0xff, 0xff, 0xff, 0xff, 0x0f, 0];
    let mut framed = vec![
        0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
    ];
    framed.extend_from_slice(&6_u32.to_be_bytes());
    framed.extend_from_slice(&block);
    for input in [&block[..], &framed] {
        let mut scratch = Scratch::new();
        let output = decompress(Compression::Snappy, input, usize::MAX, &mut scratch);
        assert!(
            matches!(output, Err(DecompressError::Corrupt(_))),
            "{output:?}"
        );
        assert_eq!(scratch.held_bytes(), 0);
    }
}

#[test]
fn gzip_members_follow_each_other_and_heads_may_be_long() {
    // A head with extra field, name, comment and checksum, as RFC 1952 allows them.
    let plain = Compressor::from(Compression::Gzip).compress(b"first ");
    let mut rich = vec![
        0x1f, 0x8b, 8, 0x1e, 0, 0, 0, 0, 0, 0xff, 3, 0, b'x', b'y', b'z',
    ];
    rich.extend_from_slice(b"name\0comment\0");
    let mut checksum = flate2::Crc::new();
    checksum.update(&rich);
    rich.extend_from_slice(&(checksum.sum() as u16).to_le_bytes());
    rich.extend_from_slice(&plain[10..]);
    let second = Compressor::from(Compression::Gzip).compress(b"second");
    let both = [&rich[..], &second].concat();
    let mut scratch = Scratch::new();
    let output = decompress(Compression::Gzip, &both, 100, &mut scratch);
    assert_eq!(output.as_deref(), Ok(&b"first second"[..]));
    rich[20] ^= 1;
    let output = decompress(Compression::Gzip, &rich, 100, &mut scratch);
    assert!(
        matches!(output, Err(DecompressError::Corrupt(_))),
        "{output:?}"
    );
}

#[test]
fn lz4_frames_with_every_checksum_are_read_and_verified() {
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    let input = sample(150_000);
    let frame = |mode| {
        let info = FrameInfo::new()
            .block_size(BlockSize::Max64KB)
            .block_mode(mode)
            .block_checksums(true)
            .content_checksum(true)
            .content_size(Some(input.len() as u64));
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(&input).expect("memory");
        encoder.finish().expect("memory")
    };
    let mut scratch = Scratch::new();
    let packed = frame(BlockMode::Independent);
    let output = decompress(Compression::Lz4, &packed, 1 << 20, &mut scratch);
    assert_eq!(output.as_deref(), Ok(&input[..]));
    // One bit anywhere, but for the eight bytes of the content size that the head's own checksum
    // guards as well.
    for at in (0..packed.len()).step_by(97) {
        let mut broken = packed.clone();
        broken[at] ^= 4;
        let output = decompress(Compression::Lz4, &broken, 1 << 20, &mut scratch);
        assert!(matches!(output, Err(DecompressError::Corrupt(_))), "{at}");
    }
    // Kafka's own reader refuses linked blocks, so they must not enter the log.
    let linked = frame(BlockMode::Linked);
    let output = decompress(Compression::Lz4, &linked, 1 << 20, &mut scratch);
    assert_eq!(
        output,
        Err(DecompressError::Corrupt("lz4 blocks are linked"))
    );
}

#[test]
fn zstd_windows_up_to_level_19_are_read_and_larger_ones_refused() {
    use ::zstd::stream::{Encoder, raw::CParameter};
    let input = sample(50_000);
    // Streamed, so that the frame asks for the level's whole window, as Java's client does.
    let frame = |log| {
        let mut encoder = Encoder::new(Vec::new(), 1).expect("memory");
        encoder
            .set_parameter(CParameter::WindowLog(log))
            .expect("a legal window");
        encoder.write_all(&input).expect("memory");
        encoder.flush().expect("memory");
        encoder.finish().expect("memory")
    };
    let mut scratch = Scratch::new();
    for log in [19, 21, ZSTD_WINDOW_LOG_MAX] {
        let output = decompress(Compression::Zstd, &frame(log), 1 << 20, &mut scratch);
        assert_eq!(output.as_deref(), Ok(&input[..]), "{log}");
    }
    let large = frame(ZSTD_WINDOW_LOG_MAX + 1);
    let output = decompress(Compression::Zstd, &large, 1 << 20, &mut scratch);
    assert!(
        matches!(output, Err(DecompressError::Corrupt(_))),
        "{output:?}"
    );
}

#[test]
fn zstd_frames_follow_each_other() {
    let first = Compressor::from(Compression::Zstd).compress(b"first ");
    let second = Compressor::from(Compression::Zstd).compress(b"second");
    let skippable = [0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0, 1, 2, 3];
    let all = [&first[..], &skippable, &second].concat();
    let output = decompress(Compression::Zstd, &all, 100, &mut Scratch::new());
    assert_eq!(output.as_deref(), Ok(&b"first second"[..]));
}

#[test]
fn truncation_at_every_byte_is_corrupt() {
    let mut scratch = Scratch::new();
    for codec in CODECS {
        let packed = Compressor::from(codec).compress(&sample(500));
        for end in 0..packed.len() {
            let output = decompress(codec, &packed[..end], 1 << 20, &mut scratch);
            let only_head = codec == Compression::Snappy && end == 16;
            if only_head {
                // A framing without blocks is a whole, empty stream.
                assert_eq!(output, Ok(Vec::new()));
            } else {
                assert!(
                    matches!(output, Err(DecompressError::Corrupt(_))),
                    "{codec:?} {end}"
                );
            }
        }
    }
}

#[test]
fn hostile_streams_end_in_values() {
    let mut random = Random(42);
    let mut scratch = Scratch::new();
    for codec in CODECS {
        let packed = Compressor::from(codec).compress(&sample(3000));
        for _ in 0..3000 {
            let mut bytes = packed.clone();
            random.mutate(&mut bytes);
            if let Ok(output) = decompress(codec, &bytes, 100_000, &mut scratch) {
                assert!(output.len() <= 100_000);
            }
        }
        let output = decompress(codec, &packed, 3000, &mut scratch);
        assert_eq!(output, Ok(sample(3000)), "the context survived {codec:?}");
    }
}
