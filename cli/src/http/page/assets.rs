//! Style, script and icon: in the binary, and named by their content so that browsers keep them.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Response};

const STYLE: &str = include_str!("../assets/page.css");
const SCRIPT: &str = include_str!("../assets/page.js");
const ICON: &str = include_str!("../assets/icon.svg");

pub(super) static STYLE_AT: LazyLock<String> = LazyLock::new(|| at("/page.css", STYLE));
pub(super) static SCRIPT_AT: LazyLock<String> = LazyLock::new(|| at("/page.js", SCRIPT));

fn at(path: &str, content: &str) -> String {
    format!("{path}?{:08x}", crc32c::crc32c(content.as_bytes()))
}

pub(crate) async fn style() -> Response {
    asset("text/css; charset=utf-8", STYLE)
}

pub(crate) async fn script() -> Response {
    asset("text/javascript; charset=utf-8", SCRIPT)
}

pub(crate) async fn icon() -> Response {
    asset("image/svg+xml", ICON)
}

fn asset(content_type: &'static str, content: &'static str) -> Response {
    (
        [
            (header::CONTENT_TYPE, content_type),
            (header::CACHE_CONTROL, "max-age=31536000, immutable"),
        ],
        content,
    )
        .into_response()
}
