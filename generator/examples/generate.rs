//! Writes events and says how fast: `cargo run --release -p bekk-generator --example generate -- DIR ROWS FILES SEED`.

#![allow(clippy::print_stdout, reason = "an example talks to a person")]

use std::error::Error;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use bekk_generator::{Events, Plan, generate_files};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [out, rows, files, seed] = args.as_slice() else {
        return Err("give a directory, a number of rows, a number of files and a seed".into());
    };
    let plan = Plan {
        events: Events::new(seed.parse()?),
        out: out.into(),
        rows: rows.parse()?,
        files: files.parse()?,
    };
    let begin = Instant::now();
    let written = generate_files(&plan, &AtomicBool::new(false), |_, _| ())?;
    let seconds = begin.elapsed().as_secs_f64();
    #[expect(clippy::cast_precision_loss, reason = "for a person")]
    let (rate, megabytes) = (written.rows as f64 / seconds, written.bytes as f64 / 1e6);
    println!(
        "{} rows in {} files, {megabytes:.1} MB, {seconds:.2} s, {rate:.0} rows/s",
        written.rows, written.files
    );
    Ok(())
}
