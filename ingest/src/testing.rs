//! What several tests need.

use bekk_stream::Stream;

/// The stream [`bekk_testing::things`], whose `price` is called `Price` in files.
pub(crate) fn stream() -> Stream {
    let mut stream = bekk_testing::things();
    stream.columns[2].header = "Price".to_owned();
    stream
}
