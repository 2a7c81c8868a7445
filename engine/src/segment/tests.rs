//! Segments as wholes: round trips, golden bytes, damage.

#![expect(
    clippy::cast_possible_truncation,
    clippy::cast_precision_loss,
    reason = "the numbers of these tests are small"
)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

mod dense;

use super::*;
use crate::codec::Density;
use crate::disk::Disk;
use crate::disk::sim::SimDisk;
use crate::error::{Error, Result};
use crate::id::{FileId, Lsn, Stream, TenantId, TenantNo};
use crate::part::{Part, Run, ZoneMap, path_of_documents};
use crate::schema::document::tests::any_value;
use crate::schema::stream::EVENT_DATA;
use crate::schema::{BytesColumn, ColumnType, ColumnVector, Document, NULL_CODE, Scalar, Schema, Value};
use crate::time::{DAY_US, TimestampUs};

const FILE: FileId = FileId(7);

fn path() -> PathBuf {
    PathBuf::from("segments/7.seg")
}

/// Rows of one stream in the order of a segment.
#[derive(Debug, Clone)]
struct StreamRows {
    stream: Stream,
    runs: Vec<Run>,
    columns: Vec<SegmentColumn>,
}

/// What a segment is made of.
#[derive(Debug, Clone)]
struct SegmentInput {
    streams: Vec<StreamRows>,
    end: SegmentEnd,
}

/// A small generator, so that inputs are the same on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn document(random: &mut Random) -> Document {
    let mut members = vec![
        ("page".to_owned(), Value::Str(format!("/page/{}", random.below(20)))),
        ("ms".to_owned(), Value::I64(random.below(900).cast_signed())),
    ];
    match random.below(5) {
        0 => members.push(("ms".to_owned(), Value::Str("slow".to_owned()))),
        1 => members.push(("cart".to_owned(), Value::Object(vec![("total".to_owned(), Value::F64(9.5))]))),
        2 => members.push(("cart".to_owned(), Value::Object(Vec::new()))),
        3 => members.push(("tags".to_owned(), Value::Array(vec![Value::Null, Value::Bool(true)]))),
        _ => members.push((format!("rare-{}", random.below(1000)), Value::U64(u64::MAX))),
    }
    Document::encode(&Value::Object(members))
}

fn column(ty: ColumnType, times: &[i64], random: &mut Random) -> SegmentColumn {
    let rows = times.len();
    match ty {
        ColumnType::Time => SegmentColumn::I64(times.to_vec()),
        ColumnType::U64 => SegmentColumn::U64((0..rows as u64).map(|i| 1 + i / 3 * 3).collect()),
        ColumnType::F64 => SegmentColumn::F64(
            (0..rows)
                .map(|_| if random.below(50) == 0 { f64::NAN } else { random.below(500) as f64 / 10.0 })
                .collect(),
        ),
        ColumnType::Code(_) => SegmentColumn::Codes(
            (0..rows).map(|_| random.below(40) as u32).map(|c| if c == 0 { NULL_CODE } else { c }).collect(),
        ),
        ColumnType::Str | ColumnType::Document => {
            let mut out = BytesColumn::new();
            let distinct = [0, 6, 1 << 40][random.below(3) as usize];
            for _ in 0..rows {
                match (ty, random.below(10)) {
                    (_, 0) => out.push(None),
                    (ColumnType::Document, _) => out.push(Some(document(random).as_bytes())),
                    _ if distinct == 0 => out.push(None),
                    _ => out.push(Some(format!("text-{}", random.below(distinct)).as_bytes())),
                }
            }
            SegmentColumn::Bytes(out)
        }
    }
}

/// Rows of some tenants over two days; `sizes` are the rows of each run.
fn stream_rows(stream: Stream, sizes: &[u64], random: &mut Random) -> StreamRows {
    let mut runs = Vec::new();
    let mut times = Vec::new();
    for (index, &rows) in (0..).zip(sizes) {
        let day = 20_000 + i64::from(index % 2);
        let mut own: Vec<i64> =
            (0..rows).map(|_| day * DAY_US + random.below(DAY_US.unsigned_abs()).cast_signed()).collect();
        own.sort_unstable();
        let start = times.len() as u64;
        runs.push(Run {
            tenant: TenantNo(1 + index / 2),
            rows: start..start + rows,
            min_time: TimestampUs(own[0]),
            max_time: TimestampUs(own[own.len() - 1]),
        });
        times.extend(own);
    }
    let columns = Schema::of(stream).columns.iter().map(|c| column(c.ty, &times, random)).collect();
    StreamRows { stream, runs, columns }
}

fn input(sizes: &[u64], seed: u64) -> SegmentInput {
    let mut random = Random(seed);
    SegmentInput {
        streams: Stream::ALL.iter().map(|s| stream_rows(*s, sizes, &mut random)).collect(),
        end: SegmentEnd {
            flushed_lsn: Lsn(42),
            replaces: vec![FileId(3), FileId(5)],
            tenant_names: vec![
                (TenantNo(1), TenantId::new("acme").unwrap()),
                (TenantNo(2), TenantId::new("zen").unwrap()),
            ],
        },
    }
}

/// Some rows of columns.
fn cut(columns: &[SegmentColumn], rows: std::ops::Range<usize>) -> Vec<SegmentColumn> {
    let of = |column: &SegmentColumn| match column {
        SegmentColumn::I64(v) => SegmentColumn::I64(v[rows.clone()].to_vec()),
        SegmentColumn::U64(v) => SegmentColumn::U64(v[rows.clone()].to_vec()),
        SegmentColumn::F64(v) => SegmentColumn::F64(v[rows.clone()].to_vec()),
        SegmentColumn::Codes(v) => SegmentColumn::Codes(v[rows.clone()].to_vec()),
        SegmentColumn::Bytes(v) => {
            let mut out = BytesColumn::new();
            rows.clone().for_each(|row| out.push(v.get(row)));
            SegmentColumn::Bytes(out)
        }
    };
    columns.iter().map(of).collect()
}

/// Whose these rows are, run by run, by looking at all runs.
fn pieces(runs: &[Run], rows: &std::ops::Range<usize>) -> Vec<(TenantNo, usize)> {
    let inside =
        |run: &Run| (run.rows.start as usize..run.rows.end as usize).filter(|r| rows.contains(r)).count();
    runs.iter().map(|run| (run.tenant, inside(run))).collect()
}

/// Writes `input` as a flush does, a few rows after the other: as many as `next` says each time.
fn write_at(
    disk: &SimDisk,
    (path, file): (&Path, FileId),
    input: &SegmentInput,
    density: Density,
    mut next: impl FnMut() -> usize,
) -> Result<SegmentSummary> {
    disk.create_dir(Path::new("segments")).unwrap();
    let mut writer = SegmentWriter::create(disk, path, file, density)?;
    for of_stream in &input.streams {
        writer.begin(of_stream.stream)?;
        let (mut from, count) = (0, of_stream.columns[0].len());
        while from < count {
            let to = count.min(from + next());
            let rows = from..to;
            // Runs that have no row here come along, as pieces without rows.
            writer.push_pieces(&pieces(&of_stream.runs, &rows), &cut(&of_stream.columns, rows))?;
            from = to;
        }
    }
    assert_eq!(writer.tenants().len(), input.streams[0].runs.len().div_ceil(2));
    writer.finish(input.end.clone())
}

/// Writes `input` a granule at a time.
fn write(disk: &SimDisk, input: &SegmentInput) -> SegmentSummary {
    write_at(disk, (&path(), FILE), input, Density::Fast, || GRANULE_ROWS).unwrap()
}

fn open(disk: &SimDisk, hash: Option<FooterHash>) -> Result<Arc<SegmentReader>> {
    SegmentReader::open(disk, &path(), FILE, hash, BlockCache::new(1 << 20))
}

/// The values of a vector, one a row, in a form that can be compared.
fn cells(vector: &ColumnVector) -> Vec<String> {
    let text = |bytes: Option<&[u8]>| bytes.map_or("absent".to_owned(), |b| format!("{b:?}"));
    match vector {
        ColumnVector::I64(v, present) => (0..v.len())
            .map(|i| {
                if present.as_ref().is_none_or(|p| p.get(i)) { format!("i{}", v[i]) } else { "absent".into() }
            })
            .collect(),
        ColumnVector::F64(v, present) => (0..v.len())
            .map(|i| {
                if present.as_ref().is_none_or(|p| p.get(i)) {
                    format!("f{}", v[i].to_bits())
                } else {
                    "absent".into()
                }
            })
            .collect(),
        ColumnVector::U64(v, _) => v.iter().map(|n| format!("u{n}")).collect(),
        ColumnVector::Codes(v) => v.iter().map(|n| format!("c{n}")).collect(),
        ColumnVector::Dict { codes, values } => codes.iter().map(|c| text(values.get(*c as usize))).collect(),
        ColumnVector::Bytes(column) => column.iter().map(text).collect(),
        ColumnVector::Scalars(leaves) => leaves.iter().map(|l| format!("{l:?}")).collect(),
    }
}

fn input_cells(column: &SegmentColumn) -> Vec<String> {
    cells(&match column.clone() {
        SegmentColumn::I64(v) => ColumnVector::I64(v, None),
        SegmentColumn::U64(v) => ColumnVector::U64(v, None),
        SegmentColumn::F64(v) => ColumnVector::F64(v, None),
        SegmentColumn::Codes(v) => ColumnVector::Codes(v),
        SegmentColumn::Bytes(v) => ColumnVector::Bytes(Arc::new(v)),
    })
}

fn granules(reader: &SegmentReader, stream: Stream) -> std::ops::Range<usize> {
    0..usize::try_from(reader.rows(stream)).unwrap().div_ceil(GRANULE_ROWS)
}

/// Everything that a segment answers is what was given to it.
fn check_equal(reader: &SegmentReader, input: &SegmentInput) -> Result<()> {
    for rows in &input.streams {
        assert_eq!(reader.runs(rows.stream), rows.runs);
        for (def, column) in Schema::of(rows.stream).columns.iter().zip(&rows.columns) {
            let mut read = Vec::new();
            for granule in granules(reader, rows.stream) {
                let vector = reader.column(rows.stream, def.id, granule)?;
                if let ColumnVector::Dict { values, .. } = &*vector {
                    let distinct: std::collections::HashSet<_> = values.iter().collect();
                    assert_eq!(distinct.len(), values.len(), "{} has a value twice", def.name);
                }
                read.extend(cells(&vector));
            }
            assert_eq!(read, input_cells(column), "{}", def.name);
            if def.ty == ColumnType::Document {
                check_paths(reader, rows.stream, def.id)?;
            }
        }
    }
    assert_eq!(reader.tenant_names()?, input.end.tenant_names);
    Ok(())
}

/// A path's leaves are the same from sub-columns as from whole documents.
fn check_paths(reader: &SegmentReader, stream: Stream, column: crate::schema::ColumnId) -> Result<()> {
    let paths: [&[&str]; 9] =
        [&["page"], &["ms"], &["cart"], &["cart", "total"], &["tags"], &["rare-1"], &["a"], &["a", "b"], &[]];
    for granule in granules(reader, stream) {
        let whole = reader.column(stream, column, granule)?;
        let ColumnVector::Bytes(documents) = &*whole else { panic!("documents are bytes") };
        for path in paths {
            let path: Vec<String> = path.iter().map(|k| (*k).to_owned()).collect();
            let expected = path_of_documents(documents, &path)?;
            let found = reader.path(stream, column, &path, granule)?;
            assert_eq!(cells(&found), cells(&expected), "{path:?}");
            assert_eq!(std::mem::discriminant(&*found), std::mem::discriminant(&expected), "{path:?}");
            if let Some(zones) = reader.path_zones(stream, column, &path, granule)? {
                for document in documents.iter().flatten() {
                    let leaf = Document::get(document, &path)?;
                    assert!(leaf.is_none_or(|leaf| zones.iter().any(|z| lies_in(&leaf, z))), "{path:?}");
                }
            }
        }
    }
    Ok(())
}

fn lies_in(leaf: &Scalar, zone: &ZoneMap) -> bool {
    match (leaf, zone) {
        (Scalar::I64(n), ZoneMap::I64 { min, max }) => min <= n && n <= max,
        (Scalar::F64(n), ZoneMap::F64 { min, max }) => min <= n && n <= max,
        (Scalar::Str(s), ZoneMap::Bytes { min, max }) => {
            min.as_slice() <= s.as_bytes() && s.as_bytes() <= max.as_slice()
        }
        _ => false,
    }
}

#[test]
fn a_path_whose_values_are_elsewhere_is_known_without_reading_them() {
    let documents = |granule: i64| {
        let members = vec![
            ("ms".to_owned(), Value::I64(granule * 1000)),
            ("page".to_owned(), Value::Str(format!("/{granule}"))),
        ];
        Document::encode(&Value::Object(members))
    };
    let mut input = input(&[20_000], 1);
    let rows = &mut input.streams[0];
    let at = Schema::of(rows.stream).columns.iter().position(|c| c.name == "event_data").unwrap();
    let mut column = BytesColumn::new();
    (0..20_000).for_each(|row| column.push(Some(documents(row / 8192).as_bytes())));
    rows.columns[at] = SegmentColumn::Bytes(column);
    let disk = SimDisk::new();
    let summary = write(&disk, &input);
    let reader = open(&disk, Some(summary.footer_hash)).unwrap();
    let zones = |path: &str, granule| {
        reader.path_zones(Stream::Events, EVENT_DATA.id, &[path.to_owned()], granule).unwrap()
    };
    assert_eq!(zones("ms", 1), Some(vec![ZoneMap::I64 { min: 1000, max: 1000 }]));
    assert_eq!(zones("page", 2), Some(vec![ZoneMap::Bytes { min: b"/2".to_vec(), max: b"/2".to_vec() }]));
    assert_eq!(zones("other", 0), Some(Vec::new()), "nothing is there");
    assert!(reader.verify().is_empty());
}

#[test]
fn the_bytes_of_all_encodings_are_those_of_the_columns() {
    let input = input(&[3000, 9000, 1, 7000], 1);
    let disk = SimDisk::new();
    let summary = write(&disk, &input);
    let reader = open(&disk, Some(summary.footer_hash)).unwrap();
    for stream in Stream::ALL {
        let stats = reader.column_stats(stream).unwrap();
        assert_eq!(stats.iter().map(|s| s.bytes).sum::<u64>(), reader.bytes_of(stream));
        assert!(stats.iter().all(|s| s.encoding != "unknown"), "{stats:?}");
    }
    let events = reader.column_stats(Stream::Events).unwrap();
    assert!(events.iter().any(|s| s.name == "event_data.page" && s.encoding == "dictionary"), "{events:?}");
}

#[test]
fn rows_of_three_streams_come_back_over_several_granules() {
    let input = input(&[3000, 9000, 1, 7000], 1);
    let disk = SimDisk::new();
    let summary = write(&disk, &input);
    let reader = open(&disk, Some(summary.footer_hash)).unwrap();
    check_equal(&reader, &input).unwrap();
    // Again, from the mapping of what is verified.
    let again = open(&disk, Some(summary.footer_hash)).unwrap();
    check_equal(&again, &input).unwrap();
    check_equal(&again, &input).unwrap();
    assert!(reader.verify().is_empty(), "{:?}", reader.verify());
    assert_eq!(reader.bytes(), summary.bytes);
    assert_eq!((reader.flushed_lsn(), reader.replaces()), (Lsn(42), &input.end.replaces[..]));
    let (one, both) = (reader.tenant_bytes(Stream::Events, TenantNo(1)), reader.bytes_of(Stream::Events));
    assert!(one > both * 60 / 100 && one < both * 65 / 100, "{one} of {both}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn any_rows_come_back(
        sizes in prop::collection::vec(1..40_u64, 1..6),
        seed in any::<u64>(),
        documents in prop::collection::vec(prop::option::of(any_value()), 1..30),
    ) {
        let mut input = input(&sizes, seed);
        for rows in &mut input.streams {
            for (def, column) in Schema::of(rows.stream).columns.iter().zip(&mut rows.columns) {
                if let (ColumnType::Document, SegmentColumn::Bytes(column)) = (def.ty, column) {
                    let rows = column.len();
                    *column = BytesColumn::new();
                    for document in documents.iter().cycle().take(rows) {
                        column.push(document.as_ref().map(Document::encode).as_ref().map(Document::as_bytes));
                    }
                }
            }
        }
        let disk = SimDisk::new();
        let summary = write(&disk, &input);
        let reader = open(&disk, Some(summary.footer_hash)).unwrap();
        check_equal(&reader, &input).unwrap();
        prop_assert!(reader.verify().is_empty());
    }
}

fn small_input() -> SegmentInput {
    input(&[5, 1, 9], 3)
}

/// Opens and reads everything; what is read is right, or the answer is an error that names the file.
fn check_damaged(disk: &SimDisk, hash: Option<FooterHash>, input: &SegmentInput) -> bool {
    match open(disk, hash).and_then(|reader| check_equal(&reader, input)) {
        Ok(()) => false,
        Err(Error::Corrupt { path: named, offset, .. }) => {
            assert_eq!(named, path());
            assert!(offset <= disk.content(path()).unwrap().len() as u64);
            true
        }
        Err(other) => panic!("{other:?}"),
    }
}

#[test]
fn every_changed_byte_is_noticed_and_never_a_wrong_value() {
    let input = small_input();
    let disk = SimDisk::new();
    let summary = write(&disk, &input);
    for offset in 0..summary.bytes {
        let bits = 1 << (offset % 8);
        assert!(disk.corrupt(path(), offset, bits));
        assert!(check_damaged(&disk, Some(summary.footer_hash), &input), "byte {offset} is not covered");
        disk.corrupt(path(), offset, bits);
    }
    assert!(!check_damaged(&disk, Some(summary.footer_hash), &input));
}

#[test]
fn damage_of_one_column_leaves_the_others_readable() {
    let input = small_input();
    let disk = SimDisk::new();
    let summary = write(&disk, &input);
    // The first block is the time of the first stream.
    disk.corrupt(path(), 24 + 20, 0xff);
    let reader = open(&disk, Some(summary.footer_hash)).unwrap();
    assert!(reader.column(Stream::Events, crate::schema::stream::TIME.id, 0).unwrap_err().is_damage());
    assert!(reader.column(Stream::Events, crate::schema::stream::SEQ.id, 0).is_ok());
    assert!(reader.column(Stream::Audit, crate::schema::stream::TIME.id, 0).is_ok());
    assert_eq!(reader.verify().len(), 1, "{:?}", reader.verify());
}

#[test]
fn a_file_cut_at_any_length_is_refused() {
    let input = small_input();
    let disk = SimDisk::new();
    let summary = write(&disk, &input);
    let whole = disk.content(path()).unwrap();
    for bytes in 0..whole.len() {
        disk.put(path(), &whole[..bytes]);
        assert!(check_damaged(&disk, Some(summary.footer_hash), &input), "{bytes} bytes");
    }
    disk.put(path(), &[whole, vec![0]].concat());
    assert!(check_damaged(&disk, Some(summary.footer_hash), &input), "a byte more");
}

#[test]
fn another_file_in_its_place_is_refused() {
    let disk = SimDisk::new();
    let summary = write(&disk, &small_input());
    let other = input(&[5, 1, 9], 4);
    let other_path = PathBuf::from("segments/8.seg");
    let at = (other_path.as_path(), FileId(8));
    let other_summary = write_at(&disk, at, &other, Density::Fast, || GRANULE_ROWS).unwrap();
    assert!(disk.swap(path(), &other_path));
    assert!(check_damaged(&disk, Some(summary.footer_hash), &small_input()));
    assert!(check_damaged(&disk, None, &small_input()), "also without the manifest");
    // The same id with other rows: only the manifest's hash can tell.
    let disk = SimDisk::new();
    write(&disk, &other);
    assert!(check_damaged(&disk, Some(summary.footer_hash), &small_input()));
    assert_ne!(summary.footer_hash, other_summary.footer_hash);
}

#[test]
fn blocks_that_change_places_are_noticed() {
    let input = small_input();
    let disk = SimDisk::new();
    let summary = write(&disk, &input);
    let whole = disk.content(path()).unwrap();
    let reader = open(&disk, Some(summary.footer_hash)).unwrap();
    let places: Vec<_> =
        reader.streams.iter().flat_map(|s| s.directory.iter().flatten()).filter_map(|c| c.place).collect();
    let mut swapped = 0;
    for (a, b) in places.iter().flat_map(|a| places.iter().map(move |b| (a, b))) {
        if a.offset < b.offset && a.len == b.len {
            let mut bytes = whole.clone();
            let (a_at, b_at, len) = (a.offset as usize, b.offset as usize, a.len as usize);
            let (front, back) = bytes.split_at_mut(b_at);
            front[a_at..a_at + len].swap_with_slice(&mut back[..len]);
            disk.put(path(), &bytes);
            assert!(check_damaged(&disk, Some(summary.footer_hash), &input));
            swapped += 1;
        }
    }
    assert!(swapped > 10);
}

#[test]
fn a_newer_version_is_refused_with_its_number() {
    let disk = SimDisk::new();
    let summary = write(&disk, &small_input());
    let mut bytes = disk.content(path()).unwrap();
    bytes[8] = 9;
    let crc = crc32fast::hash(&bytes[..20]);
    bytes[20..24].copy_from_slice(&crc.to_le_bytes());
    disk.put(path(), &bytes);
    let refused = open(&disk, Some(summary.footer_hash)).unwrap_err();
    assert!(matches!(refused, Error::NewerFormat { found: 9, supported: VERSION, .. }), "{refused:?}");
}

#[test]
fn hostile_blocks_with_right_checksums_are_refused_or_read_but_never_a_panic() {
    let disk = SimDisk::new();
    write(&disk, &input(&[40, 3], 5));
    let whole = disk.content(path()).unwrap();
    let reader = open(&disk, None).unwrap();
    let blocks = reader.all_blocks();
    assert!(blocks.len() > 60);
    let mut random = Random(11);
    for (id, place) in blocks {
        let at = place.offset as usize;
        let payload = &whole[at + 20..at + place.len as usize];
        for _ in 0..25 {
            let mut payload = payload.to_vec();
            for _ in 0..=random.below(3) {
                let index = random.below(payload.len() as u64) as usize;
                payload[index] = random.next() as u8;
            }
            let mut block = Vec::new();
            format::put_block(FILE, place.offset, &id, &payload, &mut block).unwrap();
            let mut bytes = whole.clone();
            bytes[at..at + block.len()].copy_from_slice(&block);
            disk.put(path(), &bytes);
            if let Ok(reader) = open(&disk, None) {
                let _ = reader.verify();
                let _ =
                    reader.path(Stream::Events, crate::schema::stream::EVENT_DATA.id, &["ms".to_owned()], 0);
            }
        }
    }
}

#[test]
fn hostile_footers_with_right_checksums_are_refused_or_read_but_never_a_panic() {
    let disk = SimDisk::new();
    write(&disk, &small_input());
    let whole = disk.content(path()).unwrap();
    let tail_at = whole.len() - format::TAIL_BYTES;
    let tail = format::Tail::decode(whole[tail_at..].try_into().unwrap()).unwrap();
    let footer_at = tail.footer_offset as usize;
    for index in footer_at..tail_at {
        for bits in [1, 0x80, 0xff] {
            let mut bytes = whole.clone();
            bytes[index] ^= bits;
            let tail = format::Tail { footer_crc: crc32fast::hash(&bytes[footer_at..tail_at]), ..tail };
            bytes[tail_at..].copy_from_slice(&tail.encode());
            disk.put(path(), &bytes);
            if let Ok(reader) = open(&disk, None) {
                let _ = reader.verify();
            }
        }
    }
}

#[test]
fn rows_that_do_not_fit_together_are_refused_and_change_nothing() {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("segments")).unwrap();
    let input = small_input();
    let rows = &input.streams[0];
    let whose = pieces(&rows.runs, &(0..15));
    let mut writer = SegmentWriter::create(&disk, &path(), FILE, Density::Fast).unwrap();
    writer.begin(rows.stream).unwrap();
    let mut refused = |whose: &[(TenantNo, usize)], change: fn(&mut Vec<SegmentColumn>)| {
        let mut columns = rows.columns.clone();
        change(&mut columns);
        let answer = writer.push_pieces(whose, &columns);
        assert!(matches!(answer, Err(Error::Invalid { .. })), "{answer:?}");
    };
    refused(&whose, |columns| drop(columns.pop()));
    refused(&whose, |columns| columns.swap(0, 2));
    refused(&whose, |columns| columns[1] = SegmentColumn::new(Schema::of(Stream::Events).columns[1].ty));
    refused(&whose[..2], |_| ());
    refused(&[(TenantNo(1), 15)], |_| ());
    refused(&[whose[0], whose[1], (TenantNo(2), 8)], |_| ());
    refused(&[whose[0], whose[1], (TenantNo(2), 10)], |_| ());
    writer.push_pieces(&whose, &rows.columns).unwrap();
    let [audit, metrics] = [&input.streams[1], &input.streams[2]];
    for rows in [audit, metrics] {
        writer.begin(rows.stream).unwrap();
        writer.push_pieces(&pieces(&rows.runs, &(0..15)), &rows.columns).unwrap();
    }
    let summary = writer.finish(input.end.clone()).unwrap();
    check_equal(&open(&disk, Some(summary.footer_hash)).unwrap(), &input).unwrap();
}

#[test]
fn the_golden_segment_is_what_is_written_and_opens() {
    let input = small_input();
    let disk = SimDisk::new();
    let summary = write(&disk, &input);
    crate::golden::check("segment.seg", &disk.content(path()).unwrap());
    let reader = open(&disk, Some(summary.footer_hash)).unwrap();
    check_equal(&reader, &input).unwrap();
}

#[test]
fn a_path_reads_its_own_blocks_only() {
    let disk = SimDisk::new();
    let summary = write(&disk, &input(&[8000], 9));
    let whole = summary.bytes;
    let reader = open(&disk, Some(summary.footer_hash)).unwrap();
    let opened = reader.bytes_read();
    reader.path(Stream::Events, crate::schema::stream::EVENT_DATA.id, &["page".to_owned()], 0).unwrap();
    let read = reader.bytes_read() - opened;
    assert!(read > 0 && read < whole / 20, "{read} of {whole}");
    reader.path(Stream::Events, crate::schema::stream::EVENT_DATA.id, &["page".to_owned()], 0).unwrap();
    assert_eq!(reader.bytes_read() - opened, read, "the second time from the cache");
}

#[test]
fn rows_that_come_in_pieces_make_the_same_file_as_all_at_once() {
    for (sizes, rows) in [(&[5, 1, 9][..], 2), (&[20_000, 3, 7_000], 4_099), (&[140_000], 50_000)] {
        let input = input(sizes, 11);
        let (whole, few) = (SimDisk::new(), SimDisk::new());
        let at = (path(), FILE);
        let expected = write_at(&whole, (&at.0, FILE), &input, Density::Fast, || usize::MAX / 2).unwrap();
        assert_eq!(write_at(&few, (&at.0, FILE), &input, Density::Fast, || rows).unwrap(), expected);
        assert!(few.content(path()) == whole.content(path()), "{sizes:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// Runs over the ends of granules, cut anywhere, with pieces of no rows between.
    #[test]
    fn rows_cut_anywhere_make_the_file_of_whole_granules(
        sizes in prop::collection::vec(prop_oneof![1_u64..40, 7_000..9_500_u64], 1..5),
        cuts in prop::collection::vec(prop_oneof![1_usize..30, 3_000..20_000_usize], 1..6),
        seed in any::<u64>(),
    ) {
        let mut input = input(&sizes, seed);
        let smallest = cuts.iter().min().copied().unwrap_or(1);
        // Cuts of a few rows are for inputs of a few: looking at every run for each is slow.
        prop_assume!(smallest >= 30 || sizes.iter().sum::<u64>() < 12_000);
        input.streams.truncate(1);
        let (granules, anywhere) = (SimDisk::new(), SimDisk::new());
        let expected = write(&granules, &input);
        let mut cuts = cuts.iter().cycle().copied();
        let next = || cuts.next().unwrap_or(1);
        prop_assert_eq!(write_at(&anywhere, (&path(), FILE), &input, Density::Fast, next).unwrap(), expected.clone());
        prop_assert!(anywhere.content(path()) == granules.content(path()));
        check_equal(&open(&anywhere, Some(expected.footer_hash)).unwrap(), &input).unwrap();
    }
}

#[test]
fn pieces_out_of_order_are_refused() {
    let disk = SimDisk::new();
    disk.create_dir(Path::new("segments")).unwrap();
    let rows = input(&[4, 4], 5).streams.remove(0);
    let mut writer = SegmentWriter::create(&disk, &path(), FILE, Density::Fast).unwrap();
    assert!(writer.push(TenantNo(1), &rows.columns).is_err(), "no stream yet");
    writer.begin(Stream::Audit).unwrap();
    assert!(writer.push(TenantNo(1), &rows.columns).is_err(), "columns of another stream");
    assert!(writer.begin(Stream::Events).is_ok(), "nothing was written of the stream before");
    assert!(writer.push(TenantNo(1), &rows.columns).is_err(), "two days at once");
    let mut day: Vec<SegmentColumn> =
        Schema::of(Stream::Events).columns.iter().map(|c| SegmentColumn::new(c.ty)).collect();
    for (to, column) in day.iter_mut().zip(&rows.columns) {
        to.extend(column, 0..4).unwrap();
    }
    writer.push(TenantNo(2), &day).unwrap();
    assert!(writer.push(TenantNo(1), &day).is_err(), "a tenant that is over");
    assert!(writer.begin(Stream::Events).is_err(), "a stream twice");
}
