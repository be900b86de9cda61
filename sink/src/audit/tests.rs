use super::canonical::fields;

/// Fields as binary COPY has them.
fn tuple(values: &[Option<&[u8]>]) -> Vec<u8> {
    let mut tuple = u16::try_from(values.len()).unwrap().to_be_bytes().to_vec();
    for value in values {
        let length = value.map_or(-1, |bytes| i32::try_from(bytes.len()).unwrap());
        tuple.extend_from_slice(&length.to_be_bytes());
        tuple.extend_from_slice(value.unwrap_or_default());
    }
    tuple
}

#[test]
fn a_tuple_is_split_into_its_fields() {
    let values = [Some(&b"ab"[..]), None, Some(&b""[..])];
    let tuple = tuple(&values);
    assert_eq!(fields(&tuple).unwrap(), values);
    for end in 0..tuple.len() {
        assert_eq!(fields(&tuple[..end]), None, "cut at {end}");
    }
}
