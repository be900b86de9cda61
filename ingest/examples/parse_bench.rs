//! How fast a file is split, parsed, validated and encoded, beside the csv crate's bare reading of it.
//!
//! `cargo run --release -p bekk-ingest --example parse_bench -- [file.csv] [rounds]`; without a file, one of
//! a million made-up events is written to the temporary directory. Rounds alternate; medians count. One
//! thread, warm page cache.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use bekk_ingest::preview;
use bekk_stream::{Config, Stream};

#[expect(clippy::print_stdout, reason = "the result is what it is run for")]
fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let path = match arguments.next() {
        Some(path) => PathBuf::from(path),
        None => sample_file()?,
    };
    let rounds: usize = arguments.next().map_or(Ok(7), |text| text.parse())?;
    let stream = sample_stream()?;
    let mut bare = Vec::new();
    let mut ours = Vec::new();
    for _ in 0..rounds {
        let began = Instant::now();
        let rows = read_bare(&path)?;
        bare.push(rows as f64 / began.elapsed().as_secs_f64());
        let began = Instant::now();
        let read = preview(&path, &stream)?;
        ours.push(read.records as f64 / began.elapsed().as_secs_f64());
        if read.records != rows || read.rejects > 0 {
            return Err(format!("{rows} rows, but {read:?}").into());
        }
    }
    let (bare, ours) = (median(bare), median(ours));
    println!("csv crate, bare reading           {bare:>12.0} rows/s");
    println!("split, parse, validate and encode {ours:>12.0} rows/s");
    println!("ratio                             {:>12.2}", ours / bare);
    Ok(())
}

fn read_bare(path: &Path) -> Result<u64, csv::Error> {
    let mut reader = csv::Reader::from_path(path)?;
    let mut record = csv::ByteRecord::new();
    let mut rows = 0;
    while reader.read_byte_record(&mut record)? {
        rows += 1;
    }
    Ok(rows)
}

fn sample_stream() -> Result<Stream, Box<dyn Error>> {
    let config = Config::sample(Path::new("/"), &|_| None)?;
    Ok(config
        .streams
        .into_iter()
        .next()
        .ok_or("the sample has a stream")?)
}

fn sample_file() -> std::io::Result<PathBuf> {
    let path = std::env::temp_dir().join("bekk-parse-bench.csv");
    let mut out = BufWriter::new(File::create(&path)?);
    writeln!(
        out,
        "event_id,event_type,user_id,product_id,category,price,quantity,session_id,event_time"
    )?;
    for row in 0u64..1_000_000 {
        let id = row.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        writeln!(
            out,
            "{:08x}-{:04x}-4{:03x}-8{:03x}-{:012x},{},{},{},{},{}.{:02},{},{:08x}-0000-4000-8000-{:012x},\
             2026-11-22T{:02}:{:02}:{:02}.{:06}Z",
            id >> 32,
            id & 0xffff,
            id >> 16 & 0xfff,
            id >> 28 & 0xfff,
            row,
            ["view", "view", "purchase", "add_to_cart"][usize::try_from(row % 4).unwrap_or(0)],
            row % 100_000,
            row % 7919,
            ["Electronics", "Home & Garden", "Toys", "Books"]
                [usize::try_from(row % 4).unwrap_or(0)],
            row % 500,
            row % 100,
            row % 5 + 1,
            row / 7,
            row / 7,
            row / 3600 % 24,
            row / 60 % 60,
            row % 60,
            row % 1_000_000
        )?;
    }
    out.flush()?;
    Ok(path)
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
