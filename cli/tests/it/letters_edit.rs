//! Dead letters whose text a person corrects: in an editor, or in a spreadsheet.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use crate::sample::{event, file, open_letters, prices};
use crate::support::{Postgres, Ran, Sandbox, assert_says};

/// Runs `edit` with a shell command as the editor.
fn edit(sandbox: &Sandbox, id: &str, editor: &str) -> Ran {
    let mut command = sandbox.bekk(&["dead-letters", "edit", id]);
    command.env("VISUAL", editor).env("TMPDIR", sandbox.dir());
    Ran::new(command.output().unwrap())
}

/// The texts that were kept.
fn kept(sandbox: &Sandbox) -> Vec<PathBuf> {
    let entries = fs::read_dir(sandbox.dir()).unwrap();
    let paths = entries.map(|entry| entry.unwrap().path());
    let is_text = |path: &PathBuf| path.to_string_lossy().contains("/bekk-dead-letter-");
    paths.filter(is_text).collect()
}

fn id_of(postgres: &Postgres, text: &str) -> String {
    postgres.one(&format!(
        "SELECT id FROM bekk.dead_letters WHERE position('{text}'::bytea IN raw) > 0"
    ))
}

#[test]
fn an_edited_letter_lands_or_nothing_of_it_is_lost() {
    let sandbox = Sandbox::new();
    sandbox.events("data/a.csv", &[(1, "view", "abc")]);
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    let id = id_of(&postgres, "abc");
    let raw = || postgres.one("SELECT convert_from(raw, 'UTF8') FROM bekk.dead_letters");
    let before = raw();

    let unchanged = edit(&sandbox, &id, "true").exits(1);
    unchanged
        .says("`abc` is not a number")
        .prints("is unchanged");
    edit(&sandbox, &id, "false").exits(1).says("failed");
    edit(&sandbox, &id, "no-such-editor")
        .exits(1)
        .says("not installed");
    // Without a terminal, vi would wait for keys.
    let mut command = sandbox.bekk(&["dead-letters", "edit", &id]);
    command.env_remove("VISUAL").env_remove("EDITOR");
    let without = Ran::new(command.stdin(Stdio::null()).output().unwrap());
    without.exits(1).says("needs a terminal");
    assert_eq!(kept(&sandbox), Vec::<PathBuf>::new(), "nothing was written");

    // An editor that dies after it saved, and a text that is still no row: both texts are kept and named.
    let died = edit(
        &sandbox,
        &id,
        "sh -c 'sed -i s/abc/7/ \"$1\"; exit 3' editor",
    )
    .exits(1);
    let text = kept(&sandbox).pop().unwrap();
    died.says(&format!("your text is in {}", text.display()));
    let refused = edit(&sandbox, &id, "sed -i s/abc/def/").exits(1);
    refused.says("`def`").says("--text").prints("1 still open");
    assert_eq!(kept(&sandbox).len(), 2);
    assert_eq!(raw(), before, "the letter stays as it was");
    edit(&sandbox, &id, "truncate -s 0")
        .exits(1)
        .says("discard");

    let path = text.to_str().unwrap();
    let landed = sandbox.run(&["dead-letters", "edit", &id, "--text", path]);
    landed.ok().prints("1 retried");
    assert_eq!(prices(&postgres, "events"), ["1=7.00"]);
    assert_says(raw(), &[",7,"]);
    // The row has no record in the log. The audit counts it, and reports no fault.
    let audited = sandbox.ok("audit --deep").stdout;
    assert!(audited.contains("1 row without a record"), "{audited}");
    assert!(!audited.contains("    extra"), "{audited}");
    edit(&sandbox, &id, "true").exits(1).says("retried already");
    edit(&sandbox, "999", "true")
        .exits(1)
        .says("no dead letter 999");
}

/// A row that the table refused is in the log as it was, and the beginning of it is not the same text.
#[test]
fn a_refused_row_that_is_shortened_at_its_end_is_what_lands() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "bekk.toml",
        "[streams.p]\nfiles = [\"data/*.csv\"]\nkey = [\"id\"]\ncolumns = [\n{ name = \"id\", type = \"int8\" },\n\
         { name = \"price\", type = \"int8\" },\n]\n",
    );
    sandbox.write("data/a.csv", "id,price\n1,5\n");
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    postgres.execute("ALTER TABLE p ADD CONSTRAINT cheap CHECK (price < 100)");
    sandbox.write("data/b.csv", "id,price\n2,600\n");
    sandbox.ok("up --once");
    let id = id_of(&postgres, "600");
    edit(&sandbox, &id, "sed -i s/600/60/")
        .ok()
        .prints("1 retried");
    assert_eq!(postgres.one("SELECT price FROM p WHERE id = 2"), "60");
}

#[test]
fn a_corrected_spreadsheet_is_imported_as_a_whole_or_not_at_all() {
    let sandbox = Sandbox::new();
    let formula = "=1+1,view,1,2,garden,1,1,,2026-01-01T00:00:00Z\n".to_owned();
    sandbox.write(
        "data/a.csv",
        file(&[
            event(1, "view", "x"),
            event(2, "view", "y"),
            formula,
            event(4, "view", "z"),
        ]),
    );
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    sandbox.ok("dead-letters export --csv out.csv");
    let exported = fs::read_to_string(sandbox.path("out.csv")).unwrap();
    assert!(exported.contains("\"'=1+1,"), "{exported}");
    let import = |text: &str| {
        sandbox.write("in.csv", text);
        sandbox.run("dead-letters import --csv in.csv")
    };
    import(&exported)
        .exits(1)
        .prints("0 retried, 0 superseded by a newer record, 0 still open, 4 unchanged");

    let corrected = exported
        .replace(",x,", ",1,")
        .replace(",y,", ",2,")
        .replace("'=1+1", "'00000000-0000-0000-0000-000000000003");
    let discarded = id_of(&postgres, ",z,");
    sandbox.ok(&["dead-letters", "discard", &discarded]);
    // A file with an id that nobody knows, and one of a letter that was closed meanwhile: nothing is done.
    let wrong = corrected.replace(",z,", ",4,") + "999,,,,,,,,,,a\n";
    let refused = import(&wrong).exits(1);
    refused
        .says("no dead letter 999")
        .says(&format!("dead letter {discarded} is discarded already"))
        .says("nothing was changed");
    import(&exported.replace(",x,", ",\u{fffd},"))
        .exits(1)
        .says("U+FFFD");
    import("number;text\n1;2\n").exits(1).says("no column `id`");
    import("id,raw\n1,a\n1,b\n").exits(1).says("both have id 1");
    assert_eq!(prices(&postgres, "events"), [""; 0]);

    // As a spreadsheet of a country with decimal commas saves it; two of three land.
    let still_wrong = corrected.replace(",2,1,,", ",still wrong,1,,");
    let mut writer = csv::WriterBuilder::new()
        .delimiter(b';')
        .from_writer(Vec::new());
    for record in csv::ReaderBuilder::new()
        .has_headers(false)
        .from_reader(still_wrong.as_bytes())
        .records()
    {
        writer.write_record(&record.unwrap()).unwrap();
    }
    let semicolons = format!(
        "\u{feff}{}",
        String::from_utf8(writer.into_inner().unwrap()).unwrap()
    );
    let imported = import(&semicolons).exits(1).says("still wrong");
    imported.prints(
        "2 retried, 0 superseded by a newer record, 1 still open, 0 unchanged, 1 resolved before",
    );
    assert_eq!(prices(&postgres, "events"), ["1=1.00", "3=1.00"]);
    // The same file once more, with the last mistake corrected: what landed is passed.
    import(&corrected).ok().prints(
        "1 retried, 0 superseded by a newer record, 0 still open, 0 unchanged, 3 resolved before",
    );
    assert_eq!(prices(&postgres, "events"), ["1=1.00", "2=2.00", "3=1.00"]);
    assert_eq!(open_letters(&postgres), [[""; 0]; 0]);
}

/// People write UTF-8, and the bytes of a letter are in the encoding of its file.
#[test]
fn a_text_in_another_encoding_is_corrected_in_utf8() {
    let sandbox = Sandbox::new();
    sandbox.write(
        "bekk.toml",
        "[streams.p]\nfiles = \"data/*.csv\"\nkey = \"id\"\ncsv = { encoding = \"windows-1252\" }\n\
         columns = [{ name = \"id\", type = \"int8\" }, { name = \"name\", type = \"text\" }, \
         { name = \"price\", type = \"int8\" }]\n",
    );
    sandbox.write(
        "data/a.csv",
        b"id,name,price\n1,M\xfcller,x\n2,Kr\xfcger,y\n3,\x81,1\n4,Wei\xdf,z\n",
    );
    sandbox.ok("up --once");
    let postgres = sandbox.postgres();
    let names = || postgres.rows("SELECT name FROM p ORDER BY id").concat();
    let show = |id| sandbox.ok(&["dead-letters", "show", id]);
    show("1").prints("1,Müller,x");
    sandbox.tells("dead-letters list --json", "2,Krüger,y");

    edit(&sandbox, "1", "sed -i 's/Müller,x/Müßig,1/'").ok();
    assert_eq!(names(), ["Müßig"]);
    edit(&sandbox, "2", "sed -i 's/Krüger,y/Ωmega,2/'")
        .exits(1)
        .says("dead letter 2 has `Ω`, which windows-1252, the encoding of its file, lacks")
        .says("your text is in");
    edit(&sandbox, "2", "true").exits(1).prints("unchanged");
    // Its byte is no character of the encoding; the person writes the one that was meant.
    edit(&sandbox, "3", "printf '3,é,1' >").ok();
    assert_eq!(names(), ["Müßig", "é"]);

    let export = "dead-letters export --csv out.csv";
    sandbox.ok(export);
    let exported = fs::read_to_string(sandbox.path("out.csv")).unwrap();
    let corrected = exported.replace("Krüger,y", "Krüger,2");
    sandbox.write("out.csv", corrected.replace("Weiß,z", "Ωmega,4"));
    let import = "dead-letters import --csv out.csv";
    let refused = sandbox.fails(import);
    refused.says("dead letter 4 has `Ω`");
    sandbox.write("out.csv", corrected.replace("Weiß,z", "Weiß,4"));
    sandbox.ok(import);
    assert_eq!(names(), ["Müßig", "Krüger", "é", "Weiß"]);
    sandbox.tells(import, "2 resolved before");

    // PostgreSQL refuses this row, which Bekk writes in UTF-8.
    postgres.execute("ALTER TABLE p ADD CHECK (price < 100)");
    sandbox.write("data/b.csv", b"id,name,price\n5,J\xe4ger,500\n");
    sandbox.ok("up --once");
    let id = id_of(&postgres, "500");
    edit(&sandbox, &id, "sed -i 's/Jäger,500/Jäger,5/'").ok();
    assert_eq!(names()[4], "Jäger");
}
