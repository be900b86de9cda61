//! `bekk log`: what the log holds, whether it is whole, and the log for others.

use std::sync::Arc;

use anyhow::Result;

use super::{Outcome, print_json, print_result};
use crate::args::{Global, Log, LogTopics};
use crate::context::Context;
use crate::screen::{Screen, grouped};
use crate::topics::topic_lines;

pub(crate) fn run(global: &Global, args: &Log, screen: &Screen) -> Result<Outcome> {
    let context = Arc::new(Context::load(global)?);
    match args {
        Log::Topics(args) => topics(&context, args),
        Log::Read(args) => super::read::run(&context, args),
        Log::Verify(args) => super::verify::run(&context, args, screen),
        Log::Salvage(args) => super::salvage::run(&context, args),
        Log::Backup(args) => super::backup::run(&context, args),
        Log::Copy(args) => super::copy::run(&context, args, screen),
        Log::Serve(args) => super::serve::run(global, &context, args, screen),
    }
}

fn topics(context: &Context, args: &LogTopics) -> Result<Outcome> {
    let log = context.open_log(&args.log)?;
    let lines = topic_lines(&log)?;
    if args.output.json {
        print_json(&lines)?;
        return Ok(Outcome::Done);
    }
    print_result(&format!("log id {}", log.log_id()))?;
    for line in lines {
        print_result(&line.to_string())?;
        for partition in line.partitions {
            let (start, end) = (grouped(partition.start), grouped(partition.end));
            print_result(&format!(
                "  partition {}: offsets {start} to {end}",
                partition.partition
            ))?;
        }
    }
    Ok(Outcome::Done)
}
