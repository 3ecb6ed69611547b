//! A head that another proxy tells of is decided on as if it had come itself: for the targets of `/auth` and `ext_authz`.

use std::collections::BTreeMap;

use http::HeaderMap;
use http::request::Parts;
use keyward_gateway::head::{self, Target};

use super::request_heads;

/// What is told of a call.
#[derive(Debug)]
pub(crate) struct Told {
    pub(crate) method: Vec<u8>,
    pub(crate) target: Vec<u8>,
    /// In place of every `Host` among the fields.
    pub(crate) host: Option<Vec<u8>>,
    pub(crate) fields: Vec<(Vec<u8>, Vec<u8>)>,
}

/// What is decided from.
#[derive(Debug, PartialEq, Eq)]
struct Decided {
    method: String,
    /// Host, path and query; `None` for `OPTIONS *`.
    resource: Option<(String, String, Option<String>)>,
    fields: BTreeMap<String, Vec<Vec<u8>>>,
}

/// Panics unless what was read of the question is what is read of the call itself. `None` tells nothing that is a head.
pub(crate) fn is_as_if_it_came(told: Option<&Told>, read: Option<&Parts>) {
    let read = read.and_then(decided);
    let came = told.and_then(text);
    let came = came.and_then(|text| decided(&request_heads::parts_of(&text)?));
    assert_eq!(read, came, "{told:?}");
}

fn decided(parts: &Parts) -> Option<Decided> {
    let resource = match head::parse(parts, usize::MAX).ok()? {
        Target::Server => None,
        Target::Resource(parsed) => Some((
            parsed.host.to_owned(),
            parsed.path.as_str().to_owned(),
            parsed.query.map(str::to_owned),
        )),
    };
    Some(Decided {
        method: parts.method.to_string(),
        resource,
        fields: fields(&parts.headers),
    })
}

fn fields(headers: &HeaderMap) -> BTreeMap<String, Vec<Vec<u8>>> {
    let mut fields: BTreeMap<String, Vec<Vec<u8>>> = BTreeMap::new();
    for (name, value) in headers {
        let values = fields.entry(name.as_str().to_owned()).or_default();
        values.push(value.as_bytes().trim_ascii().to_vec());
    }
    // A map of fields has no order.
    fields.values_mut().for_each(|values| values.sort());
    fields
}

/// The call as a client would have sent it; `None` when no client could.
fn text(told: &Told) -> Option<Vec<u8>> {
    let is_token = |text: &[u8]| {
        !text.is_empty()
            && text
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte))
    };
    let is_one_line = |text: &[u8]| !text.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0));
    // A fragment is refused before its head is read.
    if !is_token(&told.method) || !is_one_line(&told.target) || told.target.contains(&b'#') {
        return None;
    }
    let mut text = [&told.method, b" ".as_slice(), &told.target, b" HTTP/1.1\r\n"].concat();
    if let Some(host) = &told.host {
        // No client's parser would hand on the white space.
        if !is_one_line(host) || host.trim_ascii() != host {
            return None;
        }
        text.extend([b"host: ", host.as_slice(), b"\r\n"].concat());
    }
    for (name, value) in &told.fields {
        if !is_token(name)
            || !value
                .iter()
                .all(|byte| matches!(byte, b'\t' | b' '..=b'~' | 0x80..))
        {
            return None;
        }
        let is = |other: &[u8]| name.eq_ignore_ascii_case(other);
        let is_replaced = told.host.is_some() && is(b"host");
        // How the body is framed is the business of who has it.
        if !is_replaced && !is(b"content-length") && !is(b"transfer-encoding") {
            text.extend([name, b": ".as_slice(), value, b"\r\n"].concat());
        }
    }
    text.extend(b"\r\n");
    Some(text)
}
