//! Keys.

use bekk_stream::OnConflict;

use super::stream_of;

/// In a small file everything is unique; a key that is wrong overwrites rows.
#[test]
fn a_key_is_what_name_and_values_say() {
    let key = |csv: &str| stream_of(csv).0.key;
    assert_eq!(key("name,order_id\nA,1\nB,2\n"), ["order_id"]);
    assert_eq!(key("id,amount\n1,1.5\n2,2.5\n"), ["id"]);
    assert_eq!(key("product_id,name\n7,a\n8,b\n"), ["product_id"]);
    assert!(key("id,v\n1,1\n1,2\n").is_empty());
    for (csv, candidate) in [
        (
            "date,store,amount\n2025-01-01,Oslo,10\n2025-01-02,Bergen,20\n",
            "# key = [\"store\"]",
        ),
        ("sensor,reading\nA,1\nA,2\n", "# key = [\"reading\"]"),
        (
            "customer_id,date,amount\n1,2025-01-01,5.5\n2,2025-01-02,6.5\n",
            "# key = [\"customer_id\"]",
        ),
        ("name,age\nAda,36\nBen,41\n", "# key = ["),
        ("order,line,text\n1,1,x\n1,2,x\n2,1,x\n", "on_conflict"),
        (
            "student_id,course_id,grade\n1,5,A\n2,6,B\n",
            "# key = [\"student_id\"]",
        ),
        (
            "user_id,action\n1,login\n2,logout\n",
            "# key = [\"user_id\"]",
        ),
        ("a,b\n1,1\n1,1\n", "on_conflict"),
    ] {
        let (stream, text) = stream_of(csv);
        assert_eq!(
            (stream.key.len(), stream.on_conflict),
            (0, OnConflict::Append),
            "{text}"
        );
        assert!(text.contains(candidate), "{text}");
    }
}

/// A file is called after its records: what else its name begins with may come again.
#[test]
fn the_streams_name_says_whose_the_ids_are() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.csv");
    std::fs::write(&path, "customer_id,day\n1,2024-01-01\n2,2024-01-02\n").unwrap();
    let is_key = |stream: &str| {
        let text = super::config_text(&path, stream, "a.csv", &crate::infer::Typed::default());
        text.unwrap().contains("\nkey = [\"customer_id\"]")
    };
    assert!(is_key("customers") && is_key("customer"));
    assert!(!is_key("customer_orders") && !is_key("customers_of_may"));
}

#[test]
fn two_columns_are_a_candidate_where_none_alone_is() {
    let (stream, text) = stream_of("order_id,line,sku\n1,1,a\n1,2,a\n2,1,b\n2,2,a\n");
    assert_eq!(stream.on_conflict, OnConflict::Append);
    assert!(text.contains("# key = [\"order_id\", \"line\"]"), "{text}");
}
