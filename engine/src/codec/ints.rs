//! Whole numbers and codes.
//!
//! The bytes are described in `docs/format/encodings.md`.

use pco::ChunkConfig;
use pco::standalone::{simple_compress, simple_decompress_into};

use super::bitpack::{pack, packed_bytes, unpack, width_of};
use super::cursor::{Cursor, Decoded, Malformed};
use super::density::Density;
use super::repeat::take_repeats;
use super::section::put_section_at;
use super::varint::put_varint;
use crate::schema::NULL_CODE;

const CONSTANT: u8 = 0;
const RUN_LENGTH: u8 = 1;
const FRAME: u8 = 2;
const DELTA: u8 = 3;
const PCO: u8 = 4;
/// Written by [`super::repeat`].
pub(super) const REPEAT: u8 = 5;
const COMPRESSED: u8 = 0x80;

/// Values that are tried before pco is tried on all of them, and from how many on: it is ten times slower
/// than the others, and most columns are no shorter by it.
const PCO_SAMPLE: usize = 512;
const PCO_SAMPLED_MIN: usize = 4 * PCO_SAMPLE;

/// The level of pco for fresh data.
const PCO_LEVEL_FAST: usize = 4;
/// The level of pco for rows that stay.
const PCO_LEVEL_DENSE: usize = 8;

/// The name of the encoding that `bytes` start with.
pub(super) fn name(bytes: &[u8]) -> Option<&'static str> {
    Some(match bytes.first()? {
        &CONSTANT => "constant",
        &RUN_LENGTH => "runs",
        &FRAME => "frame",
        &DELTA => "delta",
        &PCO => "pco",
        &REPEAT => "repeat",
        tag if tag & COMPRESSED != 0 => match tag & !COMPRESSED {
            RUN_LENGTH => "runs+zstd",
            FRAME => "frame+zstd",
            DELTA => "delta+zstd",
            _ => return None,
        },
        _ => return None,
    })
}

/// The number whose order among unsigned numbers is that of `value` among signed ones.
pub const fn to_ordered(value: i64) -> u64 {
    value.cast_unsigned() ^ (1 << 63)
}

/// The inverse of [`to_ordered`].
pub const fn from_ordered(value: u64) -> i64 {
    (value ^ (1 << 63)).cast_signed()
}

/// A signed number as an unsigned one that is small where the number is near 0.
pub(crate) const fn zigzag(value: i64) -> u64 {
    (value.wrapping_shl(1) ^ (value >> 63)).cast_unsigned()
}

/// The inverse of [`zigzag`].
pub(crate) const fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// What one pass over the values tells about the cost of each encoding.
struct Shape {
    min: u64,
    max: u64,
    runs: usize,
    run_max: usize,
    delta_min: u64,
    delta_max: u64,
}

impl Shape {
    fn of(values: &[u64]) -> Self {
        let first = values.first().copied().unwrap_or(0);
        let mut shape =
            Self { min: first, max: first, runs: 1, run_max: 0, delta_min: u64::MAX, delta_max: 0 };
        let mut previous = first;
        let mut run = 0;
        for (index, &value) in values.iter().enumerate() {
            if index > 0 {
                let delta = zigzag(value.wrapping_sub(previous).cast_signed());
                shape.delta_min = shape.delta_min.min(delta);
                shape.delta_max = shape.delta_max.max(delta);
            }
            if value == previous {
                run += 1;
            } else {
                shape.runs += 1;
                shape.run_max = shape.run_max.max(run);
                run = 1;
            }
            shape.min = shape.min.min(value);
            shape.max = shape.max.max(value);
            previous = value;
        }
        shape.run_max = shape.run_max.max(run);
        shape
    }

    fn frame_bytes(&self, rows: usize) -> usize {
        packed_bytes(rows, width_of(self.max - self.min))
    }

    fn delta_bytes(&self, rows: usize) -> usize {
        packed_bytes(rows, width_of(self.delta_max.saturating_sub(self.delta_min)))
    }

    fn run_bytes(&self) -> usize {
        let bits = width_of(self.max - self.min) + width_of(self.run_max as u64);
        packed_bytes(self.runs, bits)
    }

    fn cheapest(&self, rows: usize) -> usize {
        self.frame_bytes(rows).min(self.delta_bytes(rows)).min(self.run_bytes())
    }
}

/// Encodes numbers of fresh rows; signed ones go through [`to_ordered`].
pub fn encode_ints(values: &[u64], out: &mut Vec<u8>) {
    encode_ints_at(values, Density::Fast, out);
}

/// Encodes numbers; signed ones go through [`to_ordered`].
///
/// The costs of constant, runs, frame and delta are known after one pass. `pco` decodes several times
/// slower: fast, it is tried when the best of them still takes more than two bits a value and a sample says
/// that it helps, and taken when it is a quarter shorter; dense, it is taken when it is shorter at all.
pub fn encode_ints_at(values: &[u64], density: Density, out: &mut Vec<u8>) {
    let shape = Shape::of(values);
    if shape.runs == 1 {
        out.push(CONSTANT);
        put_varint(shape.min, out);
        return;
    }
    match density {
        Density::Fast => encode_fast(values, &shape, out),
        Density::Dense => encode_dense(values, &shape, out),
    }
}

fn encode_fast(values: &[u64], shape: &Shape, out: &mut Vec<u8>) {
    let cheap = shape.cheapest(values.len());
    if cheap > values.len() / 4
        && is_worth_pco(values)
        && let Some(packed) = pack_pco(values, Density::Fast)
        && packed.len() < cheap / 4 * 3
    {
        out.push(PCO);
        out.extend_from_slice(&packed);
        return;
    }
    encode_cheap(values, shape, Density::Fast, out);
}

/// Whether a stretch of the values lets expect that pco is a quarter shorter than the best of the others.
fn is_worth_pco(values: &[u64]) -> bool {
    if values.len() < PCO_SAMPLED_MIN {
        return true;
    }
    let from = (values.len() - PCO_SAMPLE) / 2;
    let Some(sample) = values.get(from..from + PCO_SAMPLE) else { return true };
    let cheap = Shape::of(sample).cheapest(sample.len());
    pack_pco(sample, Density::Fast).is_none_or(|packed| packed.len() < cheap / 8 * 7)
}

fn encode_dense(values: &[u64], shape: &Shape, out: &mut Vec<u8>) {
    let start = out.len();
    encode_cheap(values, shape, Density::Dense, out);
    // Under this a pco file's own header is most of it.
    if out.len() - start <= 48 {
        return;
    }
    if let Some(packed) = pack_pco(values, Density::Dense)
        && packed.len() + 1 < out.len() - start
    {
        out.truncate(start);
        out.push(PCO);
        out.extend_from_slice(&packed);
    }
}

/// The standalone pco file of numbers.
pub(super) fn pack_pco<T: pco::data_types::Number>(values: &[T], density: Density) -> Option<Vec<u8>> {
    let level = match density {
        Density::Fast => PCO_LEVEL_FAST,
        Density::Dense => PCO_LEVEL_DENSE,
    };
    simple_compress(values, &ChunkConfig::default().with_compression_level(level)).ok()
}

/// Encodes with whichever of frame, runs and delta takes the fewest bytes; of equal ones that which decodes
/// faster.
fn encode_cheap(values: &[u64], shape: &Shape, density: Density, out: &mut Vec<u8>) {
    let rows = values.len();
    let cheap = shape.cheapest(rows);
    let mut body = Vec::with_capacity(cheap + 32);
    let tag = if shape.frame_bytes(rows) == cheap {
        put_frame(values, &mut body);
        FRAME
    } else if shape.run_bytes() == cheap {
        put_runs(values, &mut body);
        RUN_LENGTH
    } else {
        put_delta(values, &mut body);
        DELTA
    };
    put_tagged(tag, &body, density, out);
}

/// Writes the tag and the body, the body compressed when that pays.
pub(super) fn put_tagged(tag: u8, body: &[u8], density: Density, out: &mut Vec<u8>) {
    let mut section = Vec::with_capacity(body.len() + 8);
    put_section_at(body, density, &mut section);
    if section.len() < body.len() {
        out.push(tag | COMPRESSED);
        out.extend_from_slice(&section);
    } else {
        out.push(tag);
        out.extend_from_slice(body);
    }
}

fn put_frame(values: &[u64], out: &mut Vec<u8>) {
    let min = values.iter().copied().min().unwrap_or(0);
    let max = values.iter().copied().max().unwrap_or(0);
    let width = width_of(max - min);
    put_varint(min, out);
    out.push(u8::try_from(width).unwrap_or(64));
    pack(values.iter().map(|v| v - min), width, out);
}

fn put_runs(values: &[u64], out: &mut Vec<u8>) {
    let mut heads = Vec::new();
    let mut lens = Vec::new();
    for run in values.chunk_by(|a, b| a == b) {
        heads.extend(run.first());
        lens.push(run.len() as u64);
    }
    put_varint(heads.len() as u64, out);
    put_frame(&heads, out);
    put_frame(&lens, out);
}

fn put_delta(values: &[u64], out: &mut Vec<u8>) {
    put_varint(values.first().copied().unwrap_or(0), out);
    let deltas: Vec<u64> = values
        .iter()
        .zip(values.iter().skip(1))
        .map(|(a, b)| zigzag(b.wrapping_sub(*a).cast_signed()))
        .collect();
    put_frame(&deltas, out);
}

/// Decodes what [`encode_ints`] wrote of `rows` numbers.
///
/// # Errors
///
/// [`Malformed`] when `bytes` are anything else.
pub fn decode_ints(bytes: &[u8], rows: usize) -> Decoded<Vec<u64>> {
    let mut cursor = Cursor::new(bytes);
    let tag = cursor.u8()?;
    if tag & COMPRESSED == 0 {
        return decode_body(tag, cursor.rest(), rows);
    }
    // Only what is written compressed is read so: others nest, and could nest without end.
    let inner = tag & !COMPRESSED;
    if !matches!(inner, RUN_LENGTH | FRAME | DELTA) {
        return Err(Malformed("an encoding of numbers that is never compressed"));
    }
    let body = cursor.section()?;
    cursor.end()?;
    decode_body(inner, &body, rows)
}

fn decode_body(tag: u8, body: &[u8], rows: usize) -> Decoded<Vec<u64>> {
    let mut cursor = Cursor::new(body);
    let values = match tag {
        CONSTANT => vec![cursor.varint()?; rows],
        RUN_LENGTH => take_runs(&mut cursor, rows)?,
        FRAME => take_frame(&mut cursor, rows)?,
        DELTA => take_delta(&mut cursor, rows)?,
        PCO => {
            let mut values = vec![0_u64; rows];
            take_pco(cursor.rest(), &mut values)?;
            return Ok(values);
        }
        REPEAT => take_repeats(&mut cursor, rows)?,
        _ => return Err(Malformed("an unknown encoding of numbers")),
    };
    cursor.end()?;
    Ok(values)
}

fn take_frame(cursor: &mut Cursor<'_>, count: usize) -> Decoded<Vec<u64>> {
    let min = cursor.varint()?;
    let width = u32::from(cursor.u8()?);
    if width > 64 {
        return Err(Malformed("an unknown bit width"));
    }
    let packed = cursor.take(packed_bytes(count, width))?;
    let mut values = vec![0; count];
    unpack(packed, width, &mut values)?;
    if min != 0 {
        for value in &mut values {
            *value = value.wrapping_add(min);
        }
    }
    Ok(values)
}

fn take_runs(cursor: &mut Cursor<'_>, rows: usize) -> Decoded<Vec<u64>> {
    let runs = cursor.len(rows)?;
    let heads = take_frame(cursor, runs)?;
    let lens = take_frame(cursor, runs)?;
    let mut values = Vec::with_capacity(rows);
    for (head, len) in heads.into_iter().zip(lens) {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        if len > rows - values.len() {
            return Err(Malformed("runs that are longer than the column"));
        }
        values.resize(values.len() + len, head);
    }
    if values.len() != rows {
        return Err(Malformed("runs that are shorter than the column"));
    }
    Ok(values)
}

fn take_delta(cursor: &mut Cursor<'_>, rows: usize) -> Decoded<Vec<u64>> {
    let first = cursor.varint()?;
    let deltas = take_frame(cursor, rows.checked_sub(1).ok_or(Malformed("differences of no rows"))?)?;
    let mut values = Vec::with_capacity(rows);
    let mut value = first;
    values.push(value);
    for delta in deltas {
        value = value.wrapping_add(unzigzag(delta).cast_unsigned());
        values.push(value);
    }
    Ok(values)
}

/// Fills `values` from a standalone pco file that holds exactly as many.
pub(super) fn take_pco<T: pco::data_types::Number>(bytes: &[u8], values: &mut [T]) -> Decoded<()> {
    let progress =
        simple_decompress_into(bytes, values).map_err(|_| Malformed("a pco file that cannot be decoded"))?;
    if progress.n_processed != values.len() || !progress.finished {
        return Err(Malformed("a pco file of the wrong length"));
    }
    Ok(())
}

/// Encodes codes of fresh rows; [`NULL_CODE`] is absent.
pub fn encode_codes(codes: &[u32], out: &mut Vec<u8>) {
    encode_codes_at(codes, Density::Fast, out);
}

/// Encodes codes; [`NULL_CODE`] is absent.
pub fn encode_codes_at(codes: &[u32], density: Density, out: &mut Vec<u8>) {
    // Absent becomes 0, next to the small codes, where it costs no width.
    let shifted: Vec<u64> = codes.iter().map(|c| u64::from(c.wrapping_add(1))).collect();
    encode_ints_at(&shifted, density, out);
}

/// Decodes what [`encode_codes`] wrote of `rows` codes.
///
/// # Errors
///
/// [`Malformed`] when `bytes` are anything else.
pub fn decode_codes(bytes: &[u8], rows: usize) -> Decoded<Vec<u32>> {
    let shifted = decode_ints(bytes, rows)?;
    // Both loops without a branch for each code: 0 is absent, and one less than it is `NULL_CODE`.
    if shifted.iter().fold(0, |all, code| all | code) > u64::from(u32::MAX) {
        return Err(Malformed("a code above 32 bits"));
    }
    #[expect(clippy::cast_possible_truncation, reason = "they have 32 bits")]
    Ok(shifted.iter().map(|code| (*code as u32).wrapping_sub(1)).collect())
}

const _: () = assert!(NULL_CODE == 0_u32.wrapping_sub(1));
