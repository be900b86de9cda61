use super::canonical::fields;
use super::*;

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

#[test]
fn working_files_give_back_what_they_got() {
    let parent = tempfile::tempdir().unwrap();
    let path = {
        let dir = WorkDir::new(parent.path()).unwrap();
        let mut buckets = buckets::Buckets::create(&dir.0, "side", 3).unwrap();
        for hash in 0..30u128 {
            buckets.push(hash, &hash.to_le_bytes()).unwrap();
        }
        buckets.finish().unwrap();
        let mut all = Vec::new();
        for at in 0..3 {
            buckets::read(&dir.0, "side", at, |entry| {
                let hash = buckets::Fields(entry).u128();
                assert_eq!(hash % 3, at as u128);
                all.push(hash);
                Ok(())
            })
            .unwrap();
        }
        all.sort_unstable();
        assert_eq!(all, (0..30).collect::<Vec<_>>());
        let mode =
            |path: &Path| std::os::unix::fs::MetadataExt::mode(&path.metadata().unwrap()) & 0o777;
        assert_eq!(mode(&dir.0), 0o700);
        assert_eq!(mode(&dir.0.join("side-0")), 0o600);
        dir.0.clone()
    };
    assert!(!path.exists());
    assert_eq!((buckets::count(0), buckets::count(400_001)), (1, 2));
}
