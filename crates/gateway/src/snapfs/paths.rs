//! How paths of `file.upsert` are brought into one form (reference, section 6.1). A transform of text: no file is looked at.

/// The normal form of a path, in bytes or in UTF-16 units; `None` when it has it already.
///
/// `\` becomes `/`, runs of `/` become one, `.` goes and `..` stays, a trailing `/` goes. `//server/share` is kept as it
/// begins a path of Windows, and needs both parts.
pub fn normalise<T: Copy + Eq + From<u8>>(path: &[T]) -> Option<Vec<T>> {
    let (slash, backslash, dot) = (T::from(b'/'), T::from(b'\\'), T::from(b'.'));
    let is_slash = |unit: &T| *unit == slash || *unit == backslash;
    if is_normal(path, slash, backslash, dot) {
        return None;
    }
    let rooted = path.first().is_some_and(is_slash);
    let mut parts = path.split(is_slash);
    let mut out = Vec::with_capacity(path.len());
    let twice = rooted && path.get(1).is_some_and(is_slash);
    let mut unc = parts.clone().skip(2);
    if twice
        && let (Some(server), Some(share)) = (unc.next(), unc.next())
        && !server.is_empty()
        && !share.is_empty()
    {
        for part in [&[], server, share] {
            out.push(slash);
            out.extend_from_slice(part);
        }
        parts.nth(3);
    }
    for part in parts.filter(|part| !part.is_empty() && **part != [dot]) {
        if rooted || !out.is_empty() {
            out.push(slash);
        }
        out.extend_from_slice(part);
    }
    if rooted && out.is_empty() {
        out.push(slash);
    }
    (out != path).then_some(out)
}

/// Nearly every path of a scan is an absolute one in its normal form.
fn is_normal<T: Copy + Eq>(path: &[T], slash: T, backslash: T, dot: T) -> bool {
    if path.first() != Some(&slash) || path.contains(&backslash) {
        return path.is_empty();
    }
    path.len() == 1 || path[1..].split(|unit| *unit == slash).all(|part| !part.is_empty() && part != [dot])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_get_one_form() {
        for (from, to) in [
            ("/a//b/", "/a/b"),
            ("/a/./b/../c", "/a/b/../c"),
            ("//srv/share//a/./b", "//srv/share/a/b"),
            ("//srv/share/", "//srv/share"),
            ("//srv/share", "//srv/share"),
            ("//foo", "/foo"),
            ("//", "/"),
            ("/", "/"),
            ("/.", "/"),
            (r"C:\show\x.exr", "C:/show/x.exr"),
            (r"C:\", "C:"),
            (r"\\srv\share\d", "//srv/share/d"),
            ("./a", "a"),
            ("", ""),
            (".", ""),
            ("a", "a"),
            ("/a/.hidden/..b", "/a/.hidden/..b"),
            ("///a/b", "/a/b"),
            ("/größe//x", "/größe/x"),
        ] {
            let bytes = normalise(from.as_bytes());
            assert_eq!(bytes.as_deref().unwrap_or(from.as_bytes()), to.as_bytes(), "{from}");
            assert_eq!(bytes.is_some(), from != to, "{from}");
            let units: Vec<u16> = from.encode_utf16().collect();
            let units = normalise(&units).unwrap_or(units);
            assert_eq!(String::from_utf16(&units).unwrap(), to, "{from}");
            assert_eq!(normalise(to.as_bytes()), None, "{to} is normal");
        }
    }
}
