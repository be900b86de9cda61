//! Directories that other hosts see too: there a lock is no lock, and guests have no way to an owner elsewhere.

use std::path::Path;

use crate::Error;

/// File systems of a network, by the number that statfs(2) gives.
const NETWORK: [(u32, &str); 6] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x00c3_6400, "Ceph"),
    (0x0bd0_0bd0, "Lustre"),
];

/// Refuses a directory on a network's file system.
pub(crate) fn refuse(dir: &Path) -> Result<(), Error> {
    // The directory may not be there yet.
    let found = dir
        .ancestors()
        .find_map(|path| rustix::fs::statfs(path).ok());
    // The number has 32 bits, in whatever type the system keeps it.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "32 bits"
    )]
    let kind = found.and_then(|found| name(found.f_type as u32));
    match kind {
        Some(kind) => Err(Error::NetworkFileSystem {
            path: dir.to_owned(),
            kind,
        }),
        None => Ok(()),
    }
}

fn name(number: u32) -> Option<&'static str> {
    let found = NETWORK.iter().find(|(known, _)| *known == number);
    found.map(|(_, name)| *name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn local_directories_are_taken_and_network_ones_known() {
        refuse(&std::env::temp_dir().join("not/there/yet")).unwrap();
        assert_eq!(name(0x6969), Some("NFS"));
        assert_eq!(name(0xef53), None, "ext4");
    }
}
