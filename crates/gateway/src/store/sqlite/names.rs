//! How names are matched in a search: bytes, ASCII letters in either case.

/// True when `name` holds `pattern`, or matches it as a whole when it has `*` (any bytes) or `?` (one character) in it.
pub fn matches(name: &[u8], pattern: &[u8]) -> bool {
    if is_pattern(pattern) {
        return glob(name, pattern);
    }
    let Some((first, rest)) = pattern.split_first() else { return true };
    let last_start = name.len().checked_sub(pattern.len());
    last_start.is_some_and(|last| {
        (0..=last).any(|at| {
            name[at].eq_ignore_ascii_case(first) && name[at + 1..at + pattern.len()].eq_ignore_ascii_case(rest)
        })
    })
}

/// True when the whole name has to match, as there are wildcards.
pub fn is_pattern(pattern: &[u8]) -> bool {
    pattern.iter().any(|b| matches!(b, b'*' | b'?'))
}

/// True when `name` ends in a dot and `extension`, with something before the dot.
pub fn has_extension(name: &[u8], extension: &[u8]) -> bool {
    name.len()
        .checked_sub(extension.len() + 1)
        .is_some_and(|dot| dot > 0 && name[dot] == b'.' && name[dot + 1..].eq_ignore_ascii_case(extension))
}

/// True when `name` ends in these bytes, ASCII letters in either case.
fn ends_with(name: &[u8], end: &[u8]) -> bool {
    name.len().checked_sub(end.len()).is_some_and(|at| name[at..].eq_ignore_ascii_case(end))
}

/// Linear in practice, `name.len() * pattern.len()` at worst: only the last star is ever tried again.
fn glob(name: &[u8], pattern: &[u8]) -> bool {
    // The most common one, and asked of every name there is.
    if let [b'*', end @ ..] = pattern
        && !is_pattern(end)
    {
        return ends_with(name, end);
    }
    let (mut n, mut p) = (0, 0);
    let mut retry = None;
    while n < name.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, n));
                p += 1;
            }
            Some(b'?') => {
                n += character_len(&name[n..]);
                p += 1;
            }
            Some(byte) if byte.eq_ignore_ascii_case(&name[n]) => {
                n += 1;
                p += 1;
            }
            _ => {
                let Some((star, at)) = retry else { return false };
                retry = Some((star, at + 1));
                n = at + 1;
                p = star + 1;
            }
        }
    }
    pattern[p..].iter().all(|b| *b == b'*')
}

/// Bytes of the UTF-8 character that starts here; 1 for a byte that starts none.
fn character_len(bytes: &[u8]) -> usize {
    let chunk = &bytes[..bytes.len().min(4)];
    match chunk.utf8_chunks().next() {
        Some(c) => c.valid().chars().next().map_or(1, char::len_utf8),
        None => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn substrings_patterns_and_extensions() {
        for (name, pattern, expected) in [
            ("Report.PDF", "port.p", true),
            ("report", "reports", false),
            ("a", "", true),
            ("main.rs", "*.rs", true),
            ("main.rs.bak", "*.rs", false),
            ("MAIN.RS", "*.rs", true),
            (".rs", "*.rs", true),
            ("rs", "*.rs", false),
            ("größe", "gr??e", true),
            ("aaaaaaaaaaaaaaaaaaaaaaab", "*a*a*a*a*c", false),
            ("x", "*", true),
        ] {
            assert_eq!(matches(name.as_bytes(), pattern.as_bytes()), expected, "{name} {pattern}");
        }
        assert!(matches(b"caf\xe9", b"caf?"));
        assert!(has_extension(b"a.TAR", b"tar"));
        assert!(!has_extension(b".tar", b"tar"));
    }
}
