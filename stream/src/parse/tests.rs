//! Values, right and wrong.

use proptest::prelude::*;

use super::*;
use crate::{ColumnType, Decimal, NulPolicy};

fn parser(column_type: &str) -> ValueParser {
    parser_of(
        &Column::new("c", column_type.parse().unwrap()),
        &CsvDialect::default(),
    )
}

fn parser_of(column: &Column, dialect: &CsvDialect) -> ValueParser {
    ValueParser::new(column, dialect).unwrap()
}

fn parse<'a>(parser: &ValueParser, text: &'a str) -> Result<Value<'a>, Reason> {
    parser
        .parse(Field {
            bytes: text.as_bytes(),
            quoted: true,
        })
        .map_err(|fault| fault.reason)
}

#[track_caller]
fn check(column_type: &str, text: &str, expected: Result<Value<'_>, Reason>) {
    assert_eq!(
        parse(&parser(column_type), text),
        expected,
        "{column_type} of `{text}`"
    );
}

fn decimal(unscaled: i128, scale: u8) -> Result<Value<'static>, Reason> {
    Ok(Value::Decimal(Decimal { unscaled, scale }))
}

#[test]
fn whole_numbers() {
    for (text, value) in [
        ("0", 0),
        ("-0", 0),
        ("+7", 7),
        ("007", 7),
        ("12.00", 12),
        ("-32768", -32768),
        ("32767", 32767),
    ] {
        check("int2", text, Ok(Value::Int(value)));
    }
    check("int8", "9223372036854775807", Ok(Value::Int(i64::MAX)));
    check("int8", "-9223372036854775808", Ok(Value::Int(i64::MIN)));
    for (column_type, text) in [
        ("int2", "32768"),
        ("int4", "-2147483649"),
        ("int8", "9223372036854775808"),
        ("int8", &"9".repeat(60)),
    ] {
        check(column_type, text, Err(Reason::OutOfRange));
    }
    check("int4", "1.5", Err(Reason::TooManyDecimals));
    for text in [
        "", "-", "+", "abc", "1e3", " 1", "1 ", "1,5", ".", "-.", "--1", "0x10", "१",
    ] {
        check("int4", text, Err(Reason::BadValue));
    }
}

#[test]
fn decimals_lose_no_digit() {
    check("decimal(12,2)", "1.5", decimal(150, 2));
    check("decimal(12,2)", "-1.50000", decimal(-150, 2));
    check("decimal(12,2)", "-.5", decimal(-50, 2));
    check("decimal(12,2)", "7.", decimal(700, 2));
    check("int4", ".5", Err(Reason::TooManyDecimals));
    check("float8", ".5e1", Ok(Value::Float8(5.0)));
    check(
        "decimal(12,2)",
        "0000000000000000000000000000001",
        decimal(100, 2),
    );
    check("decimal(12,2)", "1.005", Err(Reason::TooManyDecimals));
    check(
        "decimal(12,2)",
        "9999999999.99",
        decimal(999_999_999_999, 2),
    );
    check("decimal(12,2)", "10000000000", Err(Reason::OutOfRange));
    check(
        "decimal(38,0)",
        &"9".repeat(38),
        decimal(10i128.pow(38) - 1, 0),
    );
    check("decimal(38,0)", &"9".repeat(39), Err(Reason::OutOfRange));
    check(
        "decimal(38,38)",
        "0.00000000000000000000000000000000000001",
        decimal(1, 38),
    );
    check("decimal(12,2)", "abc", Err(Reason::BadValue));
    check("decimal(12,2)", "1,50", Err(Reason::BadValue));
    let comma = CsvDialect {
        decimal: b',',
        ..CsvDialect::default()
    };
    let comma = parser_of(
        &Column::new(
            "c",
            ColumnType::Decimal {
                precision: 5,
                scale: 2,
            },
        ),
        &comma,
    );
    assert_eq!(parse(&comma, "1,5"), decimal(150, 2));
    assert_eq!(parse(&comma, "1.5"), Err(Reason::BadValue));
}

#[test]
fn numerics_keep_every_digit() {
    let check = |text: &str, expected: &str| {
        check("numeric", text, Ok(Value::Numeric(expected.into())));
    };
    let long = format!("{}.{}", "9".repeat(60), "1".repeat(60));
    for (text, expected) in [
        ("0", "0"),
        ("-0.00", "0.00"),
        ("+1.50", "1.50"),
        ("-007.5", "-7.5"),
        ("000", "0"),
        (".5", "0.5"),
        ("-.0", "0.0"),
        ("+.5", "0.5"),
        ("7.", "7"),
        (long.as_str(), long.as_str()),
    ] {
        check(text, expected);
    }
    check(&"9".repeat(131_072), &"9".repeat(131_072));
    for (text, reason) in [
        ("NaN", Reason::BadValue),
        ("-Infinity", Reason::BadValue),
        ("1e5", Reason::BadValue),
        (".", Reason::BadValue),
        ("1,5", Reason::BadValue),
        (" 1", Reason::BadValue),
        (&"9".repeat(131_073), Reason::OutOfRange),
        (
            &format!("0.{}", "0".repeat(16_384)),
            Reason::TooManyDecimals,
        ),
    ] {
        super::tests::check("numeric", text, Err(reason));
    }
    let mut column = Column::new("c", ColumnType::Numeric);
    column.decimal = Some(b',');
    (column.min, column.max) = (Some("-10,5".into()), Some("100,00".into()));
    let parser = parser_of(&column, &CsvDialect::default());
    for (text, is_right) in [
        ("-10,50", true),
        ("-10,51", false),
        ("-9", true),
        ("100", true),
        ("100,01", false),
        ("99,999", true),
        ("-1000", false),
    ] {
        assert_eq!(parse(&parser, text).is_ok(), is_right, "{text}");
    }
}

#[test]
fn numbers_without_what_is_stripped() {
    let mut column = Column::new("c", "decimal(9,2)".parse().unwrap());
    column.strip = [",", "$", "%", "()"].map(str::to_owned).to_vec();
    (column.min, column.allowed) = (Some("-1500".into()), None);
    let parser = parser_of(&column, &CsvDialect::default());
    for (text, expected) in [
        ("$1,234.50", decimal(123_450, 2)),
        ("(1,234.5)", decimal(-123_450, 2)),
        ("12%", decimal(1200, 2)),
        ("(1,500.01)", Err(Reason::OutOfRange)),
        ("1.234,50", Err(Reason::BadValue)),
        ("1,2345", Err(Reason::BadValue)),
        ("1,234.505", Err(Reason::TooManyDecimals)),
    ] {
        assert_eq!(parse(&parser, text), expected, "{text}");
    }
    let fault = parser.parse(Field {
        bytes: b"$1x",
        quoted: false,
    });
    assert!(
        fault
            .unwrap_err()
            .detail
            .starts_with("`$1x`: `1x` is not a number")
    );
    column.strip = vec![".".to_owned()];
    assert!(ValueParser::new(&column, &CsvDialect::default()).is_err());
    column.decimal = Some(b',');
    let parser = parser_of(&column, &CsvDialect::default());
    assert_eq!(parse(&parser, "1.234,5"), decimal(123_450, 2));
}

#[test]
fn floats() {
    check("float8", "1.5e-3", Ok(Value::Float8(0.0015)));
    check("float8", "-Infinity", Ok(Value::Float8(f64::NEG_INFINITY)));
    check("float4", "0e999", Ok(Value::Float4(0.0)));
    check("float8", "1e400", Err(Reason::OutOfRange));
    check("float4", "1e-60", Err(Reason::OutOfRange));
    for text in [
        "", "e5", "1e", "1e1.5", "--nan", "infinite", "0x1p3", "1_000",
    ] {
        check("float8", text, Err(Reason::BadValue));
    }
}

#[test]
fn bools_and_uuids_and_bytes() {
    check("bool", "TRUE", Ok(Value::Bool(true)));
    check("bool", "0", Ok(Value::Bool(false)));
    check("bool", "2", Err(Reason::BadValue));
    let mut column = Column::new("c", ColumnType::Bool);
    column.true_values = Some(vec!["J".into()]);
    column.false_values = Some(vec!["N".into()]);
    let own = parser_of(&column, &CsvDialect::default());
    assert_eq!(parse(&own, "J"), Ok(Value::Bool(true)));
    assert_eq!(parse(&own, "true"), Err(Reason::BadValue));
    column.false_values = None;
    assert!(ValueParser::new(&column, &CsvDialect::default()).is_err());

    let bytes = *b"\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff";
    check(
        "uuid",
        "00112233-4455-6677-8899-AABBCCDDEEFF",
        Ok(Value::Uuid(bytes)),
    );
    check(
        "uuid",
        "00112233-4455-6677-8899-aabbccddeef",
        Err(Reason::BadValue),
    );
    check("bytea", "\\x00fF", Ok(Value::Bytea(vec![0, 255].into())));
    check("bytea", "00ff", Err(Reason::BadValue));
    check("bytea", "\\x0", Err(Reason::BadValue));
}

#[test]
fn texts() {
    check("text", "", Ok(Value::Text("".into())));
    check("text", "blåbær", Ok(Value::Text("blåbær".into())));
    check("text", "a\0b", Err(Reason::Nul));
    let latin1 = parser("text").parse(Field {
        bytes: b"bl\xe5b\xe6r",
        quoted: false,
    });
    assert_eq!(latin1.unwrap_err().reason, Reason::BadEncoding);
    for (nul, kept) in [(NulPolicy::Strip, "ab"), (NulPolicy::Replace, "a\u{fffd}b")] {
        let dialect = CsvDialect {
            nul,
            ..CsvDialect::default()
        };
        let parser = parser_of(&Column::new("c", ColumnType::Text), &dialect);
        assert_eq!(parse(&parser, "a\0b"), Ok(Value::Text(kept.into())));
    }
    check(
        "json",
        "{\"a\": [1, null]}",
        Ok(Value::Json("{\"a\": [1, null]}".into())),
    );
    check("json", "{a: 1}", Err(Reason::BadValue));
}

#[test]
fn dates_and_times() {
    const NOON: i64 = 1_706_961_600_000_000; // 2024-02-03T12:00:00Z
    check("date", "1970-01-01", Ok(Value::Date(0)));
    check("date", "2024-02-29", Ok(Value::Date(19_782)));
    check("date", "0001-01-01", Ok(Value::Date(-719_162)));
    for text in [
        "2023-02-29",
        "2024-13-01",
        "2024-00-01",
        "0000-01-01",
        "24-01-01",
        "2024-1-1",
        "2024-01-01 ",
    ] {
        check("date", text, Err(Reason::BadValue));
    }
    check("timestamp", "2024-02-03 12:00", Ok(Value::Timestamp(NOON)));
    check(
        "timestamp",
        "2024-02-03T12:00:00.5",
        Ok(Value::Timestamp(NOON + 500_000)),
    );
    check("timestamp", "2024-02-03T12:00:00Z", Err(Reason::BadValue));
    for text in [
        "2024-02-03T12:00:00Z",
        "2024-02-03 12:00:00+00",
        "2024-02-03T13:30:00.000000+01:30",
        "2024-02-03 07:00:00-0500",
        "2024-02-03 12:00:00 UTC",
        "2024-02-03T12:00:00.000000000Z",
    ] {
        check("timestamptz", text, Ok(Value::Timestamptz(NOON)));
    }
    check(
        "timestamptz",
        "2024-02-03T12:00:00.0000001Z",
        Err(Reason::TooManyDecimals),
    );
    for text in [
        "2024-02-03T12:00:00",
        "2024-02-03T24:00:00Z",
        "2024-02-03T12:00:60Z",
        "2024-02-03T12:00:00.Z",
        "{}",
        "now",
    ] {
        check("timestamptz", text, Err(Reason::BadValue));
    }
}

#[test]
fn times_in_a_zone_and_of_a_format() {
    let mut column = Column::new("c", ColumnType::Timestamptz);
    column.zone = Some("Europe/Oslo".into());
    column.format = Some("%d.%m.%Y %H:%M:%S".into());
    let oslo = parser_of(&column, &CsvDialect::default());
    assert_eq!(
        parse(&oslo, "03.02.2024 13:00:00"),
        Ok(Value::Timestamptz(1_706_961_600_000_000))
    );
    // The clock went from 02:00 to 03:00 that night.
    assert_eq!(parse(&oslo, "31.03.2024 02:30:00"), Err(Reason::BadValue));
    // 02:30 came twice that night; the first was summer time.
    assert_eq!(
        parse(&oslo, "27.10.2024 02:30:00"),
        Ok(Value::Timestamptz(1_729_989_000_000_000))
    );
    assert_eq!(parse(&oslo, "2024-02-03"), Err(Reason::BadValue));
    column.zone = Some("Europe/Atlantis".into());
    assert!(ValueParser::new(&column, &CsvDialect::default()).is_err());
}

#[test]
fn years_have_the_digits_that_their_format_says() {
    let date = |format: &str, text: &str| {
        let mut column = Column::new("c", ColumnType::Date);
        column.format = Some(format.into());
        parse(&parser_of(&column, &CsvDialect::default()), text).map(|value| format!("{value:?}"))
    };
    let day = |days: i32| Ok(format!("{:?}", Value::Date(days)));
    assert_eq!(date("%d.%m.%Y", "31.12.2025"), day(20_453));
    assert_eq!(date("%d.%m.%y", "31.12.25"), day(20_453));
    assert_eq!(date("%D", "12/31/25"), day(20_453));
    assert_eq!(date("%d.%m.%y", "1.1.70"), day(0));
    assert_eq!(date("%d.%m.%y", "01.01.00"), day(10_957));
    assert_eq!(date("%d.%m.%Y", "01.01.0999"), day(-354_650));
    for (format, text) in [
        ("%d.%m.%Y", "31.12.25"),
        ("%d/%m/%Y", "31/12/25"),
        ("%m/%d/%Y", "3/4/00"),
        ("%d.%m.%Y", "1.2.3"),
        ("%Y/%m/%d", "31/12/25"),
        ("%F", "25-12-31"),
        ("%d.%m.%Y", "01.01.0000"),
        ("%d.%m.%y", "03.2.3"),
        ("%d.%m.%y", "31.12.2025"),
    ] {
        assert_eq!(
            date(format, text),
            Err(Reason::BadValue),
            "{format} of {text}"
        );
    }
}

#[test]
fn times_are_numbers_since_1970() {
    let time = |format: &str, text: &str| {
        let mut column = Column::new("c", ColumnType::Timestamptz);
        column.format = Some(format.into());
        parse(&parser_of(&column, &CsvDialect::default()), text).map(|value| format!("{value:?}"))
    };
    let at = |micros: i64| Ok(format!("{:?}", Value::Timestamptz(micros)));
    assert_eq!(time("epoch", "1735689600"), at(1_735_689_600_000_000));
    assert_eq!(time("epoch", "1735689600.25"), at(1_735_689_600_250_000));
    assert_eq!(time("epoch_ms", "1735689600123"), at(1_735_689_600_123_000));
    assert_eq!(time("epoch_us", "-1"), at(-1));
    assert_eq!(time("epoch_us", "0.5"), Err(Reason::TooManyDecimals));
    assert_eq!(time("epoch", "99999999999999"), Err(Reason::OutOfRange));
    assert_eq!(time("epoch", "12:30"), Err(Reason::BadValue));
    assert_eq!(
        time("%m/%d/%Y %I:%M %p", "12/31/2025 01:05 PM"),
        Err(Reason::BadValue),
        "no zone"
    );
}

#[test]
fn times_of_day() {
    const MINUTE: i64 = 60_000_000;
    let time = |format: Option<&str>, text: &str| {
        let mut column = Column::new("c", ColumnType::Time);
        column.format = format.map(str::to_owned);
        parse(&parser_of(&column, &CsvDialect::default()), text).map(|value| format!("{value:?}"))
    };
    let at = |micros: i64| Ok(format!("{:?}", Value::Time(micros)));
    assert_eq!(time(None, "00:00"), at(0));
    assert_eq!(time(None, "23:59:59.999999"), at(24 * 60 * MINUTE - 1));
    assert_eq!(time(None, "24:00:00"), at(24 * 60 * MINUTE));
    for wrong in [
        "24:01",
        "25:00",
        "1:00",
        "12",
        "12:60",
        "12:00:60",
        "12:00Z",
        "12:00+02",
        "12:00 PM",
        "2026-01-31 12:00",
        "now",
        "",
    ] {
        assert_eq!(time(None, wrong), Err(Reason::BadValue), "{wrong}");
    }
    assert_eq!(time(None, "12:00:00.1234567"), Err(Reason::TooManyDecimals));
    let clock = |text| time(Some("%I:%M %p"), text);
    assert_eq!(clock("12:00 AM"), at(0));
    assert_eq!(clock("12:00 PM"), at(12 * 60 * MINUTE));
    assert_eq!(clock("12:30 am"), at(30 * MINUTE));
    assert_eq!(clock("11:59 pm"), at((23 * 60 + 59) * MINUTE));
    for wrong in ["0:30 AM", "13:00 PM", "12:00", "12:00 XM"] {
        assert_eq!(clock(wrong), Err(Reason::BadValue), "{wrong}");
    }
    let mut column = Column::new("c", ColumnType::Time);
    column.format = Some("epoch".to_owned());
    assert!(ValueParser::new(&column, &CsvDialect::default()).is_err());
}

#[test]
fn twelve_hours_and_numbers_before_1970() {
    let time = |format: &str, text: &str| {
        let mut column = Column::new("c", ColumnType::Timestamp);
        column.format = Some(format.to_owned());
        parse(&parser_of(&column, &CsvDialect::default()), text).map(Value::into_owned)
    };
    let at = |seconds: i64| Ok(Value::Timestamp(seconds * 1_000_000));
    let clock = "%Y-%m-%d %I:%M:%S %p";
    assert_eq!(time(clock, "1970-01-01 12:00:00 AM"), at(0));
    assert_eq!(time(clock, "1970-01-01 12:00:00 PM"), at(12 * 3600));
    assert_eq!(time(clock, "1969-12-31 11:59:59 PM"), at(-1));
    assert_eq!(time("epoch", "-0.5"), Ok(Value::Timestamp(-500_000)));
    assert_eq!(
        time("epoch_ms", "-1500.25"),
        Ok(Value::Timestamp(-1_500_250))
    );
    assert_eq!(time("epoch", "-0"), at(0));
    assert_eq!(time("epoch", "1e9"), Err(Reason::BadValue));
    let mut column = Column::new("c", ColumnType::Timestamp);
    column.format = Some("%Y-%m-%d %I:%M".to_owned());
    let why = ValueParser::new(&column, &CsvDialect::default()).unwrap_err();
    assert!(why.detail.contains("add %p"), "{}", why.detail);
}

/// The empty text in quotes is null where it cannot be a value.
#[test]
fn empty_texts_of_types_of_the_database() {
    for (column_type, expected) in [
        ("pg:inet", Ok(Value::Null)),
        ("pg:int4[]", Ok(Value::Null)),
        ("numeric", Ok(Value::Null)),
        ("time", Ok(Value::Null)),
        ("pg:ltree", Ok(Value::Text("".into()))),
        ("pg:shop.mood", Ok(Value::Text("".into()))),
    ] {
        let column = Column::new("c", column_type.parse().unwrap()).nullable();
        let parser = parser_of(&column, &CsvDialect::default());
        assert_eq!(parse(&parser, ""), expected, "{column_type}");
    }
}

#[test]
fn a_column_can_have_null_texts_of_its_own() {
    let field = |text: &'static str, quoted| Field {
        bytes: text.as_bytes(),
        quoted,
    };
    let mut column = Column::new("c", ColumnType::Int4).nullable();
    column.null = Some(vec![String::new(), "NA".into()]);
    let parser = parser_of(&column, &CsvDialect::default());
    assert_eq!(parser.parse(field("NA", false)).unwrap(), Value::Null);
    assert_eq!(parser.parse(field("", false)).unwrap(), Value::Null);
    // A whole number has no empty value, so quotes around nothing mean nothing either.
    assert_eq!(parser.parse(field("", true)).unwrap(), Value::Null);
    assert!(parser.parse(field("NA", true)).is_err());
    let text = parser_of(
        &Column::new("c", ColumnType::Text).nullable(),
        &CsvDialect::default(),
    );
    assert_eq!(
        text.parse(field("NA", false)).unwrap(),
        Value::Text("NA".into())
    );
    assert_eq!(text.parse(field("", true)).unwrap(), Value::Text("".into()));
    let required = parser_of(&Column::new("c", ColumnType::Int4), &CsvDialect::default());
    assert!(required.parse(field("", true)).is_err());
}

#[test]
fn null_is_an_unquoted_null_text_only() {
    let dialect = CsvDialect {
        null: vec![String::new(), "NULL".into()],
        ..CsvDialect::default()
    };
    let nullable = parser_of(&Column::new("c", ColumnType::Text).nullable(), &dialect);
    let required = parser_of(&Column::new("c", ColumnType::Text), &dialect);
    let field = |text: &'static str, quoted| Field {
        bytes: text.as_bytes(),
        quoted,
    };
    assert_eq!(nullable.parse(field("", false)), Ok(Value::Null));
    assert_eq!(nullable.parse(field("NULL", false)), Ok(Value::Null));
    assert_eq!(nullable.parse(field("", true)), Ok(Value::Text("".into())));
    assert_eq!(
        nullable.parse(field("null", false)),
        Ok(Value::Text("null".into()))
    );
    assert_eq!(
        required.parse(field("", false)).unwrap_err().reason,
        Reason::MissingValue
    );
    assert_eq!(required.parse(field("", true)), Ok(Value::Text("".into())));
}

#[test]
fn conditions_of_a_column() {
    let mut column = Column::new(
        "c",
        ColumnType::Decimal {
            precision: 12,
            scale: 2,
        },
    );
    column.min = Some("0".into());
    column.max = Some("99.5".into());
    let bounded = parser_of(&column, &CsvDialect::default());
    assert_eq!(parse(&bounded, "99.5"), decimal(9950, 2));
    assert_eq!(parse(&bounded, "-0.01"), Err(Reason::OutOfRange));
    assert_eq!(parse(&bounded, "99.51"), Err(Reason::OutOfRange));
    column.min = Some("much".into());
    assert!(ValueParser::new(&column, &CsvDialect::default()).is_err());

    let mut column = Column::new("c", ColumnType::Text);
    column.allowed = Some(vec!["view".into(), "purchase".into()]);
    let listed = parser_of(&column, &CsvDialect::default());
    assert_eq!(parse(&listed, "view"), Ok(Value::Text("view".into())));
    assert_eq!(parse(&listed, "View"), Err(Reason::NotAllowed));

    let mut column = Column::new("c", ColumnType::Uuid);
    column.max = Some("00112233-4455-6677-8899-AABBCCDDEEFF".into());
    assert!(
        ValueParser::new(&column, &CsvDialect::default()).is_err(),
        "uuids have no order to bound"
    );
}

#[test]
fn messages_show_the_value_escaped_and_cut() {
    let fault = parser("int4")
        .parse(Field {
            bytes: "1\n".repeat(100).as_bytes(),
            quoted: true,
        })
        .unwrap_err();
    assert!(fault.detail.starts_with("`1\\n1\\n"), "{}", fault.detail);
    assert!(
        fault.detail.contains('…') && fault.detail.len() < 250,
        "{}",
        fault.detail
    );
}

proptest! {
    /// What a number's own text says is what is parsed.
    #[test]
    fn every_int_survives(value: i64) {
        let text = value.to_string();
        prop_assert_eq!(parse(&parser("int8"), &text), Ok(Value::Int(value)));
    }

    #[test]
    fn every_decimal_survives(unscaled in -99_999_999_999_999_999_999_999i128..=99_999_999_999_999_999_999_999, scale in 0u8..=20) {
        let text = Decimal { unscaled, scale }.to_string();
        let parser = parser(&format!("decimal(38,{scale})"));
        prop_assert_eq!(parse(&parser, &text), decimal(unscaled, scale));
    }

    /// jiff writes a moment, we read it.
    #[test]
    fn every_moment_survives(micros in -62_135_596_800_000_000i64..253_402_207_200_000_000) {
        let text = jiff::Timestamp::from_microsecond(micros).unwrap().to_string();
        prop_assert_eq!(parse(&parser("timestamptz"), &text), Ok(Value::Timestamptz(micros)));
    }

    /// No text makes any parser panic.
    #[test]
    fn no_text_panics(bytes in proptest::collection::vec(any::<u8>(), 0..40)) {
        for column_type in ["text", "bool", "int2", "float4", "float8", "decimal(9,3)", "uuid", "date", "timestamp", "timestamptz", "json", "bytea"] {
            let _ = parser(column_type).parse(Field { bytes: &bytes, quoted: false });
        }
    }

    /// Nor does text made of what times are made of.
    #[test]
    fn no_time_panics(text in "[0-9T:.+Z -]{0,35}") {
        for column_type in ["date", "timestamp", "timestamptz"] {
            let _ = parse(&parser(column_type), &text);
        }
    }
}
