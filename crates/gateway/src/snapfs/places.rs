//! Where in a scan's root a path of a client lies.
//!
//! Consumers get paths in their normal form, in which `\` is `/`. In the index a name of a Unix host keeps its backslash, so
//! that `a\b` and `a/b` stay two files.

use hostler_model::ByteStr;

use super::paths::normalise;

/// A scan's root as it is indexed.
pub fn root(path: &ByteStr) -> ByteStr {
    ByteStr::from(clean(path.as_bytes()))
}

/// A path relative to a root that [`root`] made; empty for the root itself.
///
/// # Errors
/// Why it cannot be indexed.
pub fn below(root: &ByteStr, path: &ByteStr) -> Result<ByteStr, &'static str> {
    const OUTSIDE: &str = "the path is outside its scan's root";
    let path = match is_clean(path.as_bytes()) {
        true => std::borrow::Cow::Borrowed(path.as_bytes()),
        false => std::borrow::Cow::Owned(clean(path.as_bytes())),
    };
    let rest = path.strip_prefix(root.as_bytes()).ok_or(OUTSIDE)?;
    match rest {
        [] => Ok(ByteStr::default()),
        [b'/', below @ ..] => Ok(ByteStr::from(below)),
        _ if root.as_bytes() == b"/" => Ok(ByteStr::from(rest)),
        _ => Err(OUTSIDE),
    }
}

fn is_clean(path: &[u8]) -> bool {
    matches!(path, [b'/', rest @ ..] if rest.is_empty() || rest.split(|b| *b == b'/').all(|part| !matches!(part, b"" | b".")))
}

fn clean(path: &[u8]) -> Vec<u8> {
    if path.first() != Some(&b'/') {
        return normalise(path).unwrap_or_else(|| path.to_vec());
    }
    let mut out = Vec::with_capacity(path.len());
    for part in path.split(|b| *b == b'/').filter(|part| !matches!(*part, b"" | b".")) {
        out.push(b'/');
        out.extend_from_slice(part);
    }
    if out.is_empty() {
        out.push(b'/');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_unix_keep_their_backslash() {
        let root = root(&ByteStr::from("/srv//show/"));
        assert_eq!(root, ByteStr::from("/srv/show"));
        for (path, below) in [
            ("/srv/show/a/b", Ok("a/b")),
            ("/srv/show/a\\b", Ok("a\\b")),
            ("/srv//show/./a", Ok("a")),
            ("/srv/show", Ok("")),
            ("/srv/shows/a", Err(())),
            ("/srv", Err(())),
            ("srv/show/a", Err(())),
        ] {
            assert_eq!(super::below(&root, &path.into()).map_err(|_| ()), below.map(ByteStr::from), "{path}");
        }
        assert_eq!(super::below(&ByteStr::from("/"), &"/etc/fstab".into()), Ok("etc/fstab".into()));
    }

    #[test]
    fn paths_of_windows_have_slashes() {
        let root = root(&ByteStr::from("C:\\show"));
        assert_eq!(root, ByteStr::from("C:/show"));
        assert_eq!(below(&root, &"C:\\show\\ep1\\x.exr".into()), Ok("ep1/x.exr".into()));
    }
}
