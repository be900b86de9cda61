//! Lets the target compile the modules of `bekk`, which is not a library: links to its files, and the list of modules from
//! its `main.rs`.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::{env, fs};

fn main() {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("../src");
    let out = Path::new(&env::var_os("OUT_DIR").expect("cargo sets it")).join("bekk");
    let _ = fs::remove_dir_all(&out);
    fs::create_dir_all(&out).expect("a directory");
    for entry in fs::read_dir(&sources).expect("the sources") {
        let entry = entry.expect("a file");
        symlink(sources.join(entry.file_name()), out.join(entry.file_name())).expect("a link");
    }
    let root = fs::read_to_string(sources.join("main.rs")).expect("main.rs");
    let modules = root.lines().filter(|line| line.starts_with("mod "));
    let modules: Vec<_> = modules.collect();
    fs::write(out.join("modules.rs"), modules.join("\n")).expect("a file");
    println!("cargo::rerun-if-changed={}", sources.display());
}
