//! The on-demand URL: a path of the app, or an absolute http(s) URL. Errors are Go's (`url.ParseRequestURI`).

/// Why it is no such URL.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum UrlError {
    /// Begins with `//`.
    #[error("tls-on-demand-url must be a path or an absolute http(s) URL")]
    NoScheme,
    /// Not a URL: the text, and why.
    #[error("unable to parse tls-on-demand-url: parse {0:?}: {1}")]
    Unparseable(String, String),
    /// Neither http nor https.
    #[error("unsupported scheme {0:?} in tls-on-demand-url")]
    Scheme(String),
    /// `http://`.
    #[error("missing host in tls-on-demand-url")]
    NoHost,
}

/// Checks an on-demand URL.
pub(super) fn check_on_demand(url: &str) -> Result<(), UrlError> {
    if url.starts_with("//") {
        return Err(UrlError::NoScheme);
    }
    let unparseable = |why: String| UrlError::Unparseable(url.to_owned(), why);
    if url.bytes().any(|b| b < 0x20 || b == 0x7f) {
        return Err(unparseable("net/url: invalid control character in URL".into()));
    }
    let (scheme, rest) = split_scheme(url).map_err(unparseable)?;
    let before_query = rest.split('?').next().unwrap_or_default();
    if !before_query.starts_with('/') {
        return match scheme.as_str() {
            "" => Err(unparseable("invalid URI for request".into())),
            "http" | "https" => Err(UrlError::NoHost),
            _ => Err(UrlError::Scheme(scheme)),
        };
    }
    let authority = before_query.strip_prefix("//").filter(|_| !scheme.is_empty());
    let (host, path) = match authority {
        Some(after) => after.split_at(after.find('/').unwrap_or(after.len())),
        None => ("", before_query),
    };
    check_host(host).map_err(unparseable)?;
    check_escapes(path).map_err(unparseable)?;
    match scheme.as_str() {
        "" => Ok(()),
        "http" | "https" if host.is_empty() => Err(UrlError::NoHost),
        "http" | "https" => Ok(()),
        _ => Err(UrlError::Scheme(scheme)),
    }
}

fn split_scheme(url: &str) -> Result<(String, &str), String> {
    for (at, c) in url.char_indices() {
        match c {
            'a'..='z' | 'A'..='Z' => {}
            '0'..='9' | '+' | '-' | '.' if at > 0 => {}
            ':' if at == 0 => return Err("missing protocol scheme".into()),
            ':' => {
                let (scheme, rest) = url.split_at(at);
                return Ok((scheme.to_ascii_lowercase(), rest.strip_prefix(':').unwrap_or(rest)));
            }
            _ => break,
        }
    }
    Ok((String::new(), url))
}

fn check_host(authority: &str) -> Result<(), String> {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    if host.starts_with('[') && !host.contains(']') {
        return Err("missing ']' in host".into());
    }
    let port = match host.rsplit_once(']') {
        Some((_, after)) => after,
        None => host.find(':').and_then(|at| host.get(at..)).unwrap_or_default(),
    };
    let valid = port.strip_prefix(':').map_or(port.is_empty(), |digits| digits.bytes().all(|b| b.is_ascii_digit()));
    if !valid {
        return Err(format!("invalid port {port:?} after host"));
    }
    match host.chars().find(|c| matches!(c, ' ' | '"' | '<' | '>' | '\\' | '^' | '`' | '{' | '|' | '}')) {
        Some(c) => Err(format!("invalid character {:?} in host name", c.to_string())),
        None => check_escapes(host),
    }
}

fn check_escapes(text: &str) -> Result<(), String> {
    let bytes = text.as_bytes();
    for (at, _) in text.match_indices('%') {
        let hex = |i: usize| bytes.get(i).is_some_and(u8::is_ascii_hexdigit);
        if !(hex(at + 1) && hex(at + 2)) {
            let shown = String::from_utf8_lossy(bytes.get(at..bytes.len().min(at + 3)).unwrap_or_default());
            return Err(format!("invalid URL escape {:?}", shown.as_ref()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::check_on_demand;

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_fall(url in "[a-z:/@\\[\\]%0-9?é ]{0,16}") {
            let _ = check_on_demand(&url);
        }
    }

    #[test]
    fn takes_paths_and_absolute_urls() {
        for url in ["/x", "/x?t=a", "http://e/c", "https://e/c", "HTTP://e:80", "http://[::1]:80/x", "http://u@e/%41"] {
            check_on_demand(url).unwrap_or_else(|error| panic!("{url}: {error}"));
        }
    }

    #[test]
    fn refuses_all_else_in_gos_words() {
        let parse = "unable to parse tls-on-demand-url: parse";
        for (url, error) in [
            ("//e/x", "tls-on-demand-url must be a path or an absolute http(s) URL".to_owned()),
            ("foo", format!("{parse} \"foo\": invalid URI for request")),
            ("://x", format!("{parse} \"://x\": missing protocol scheme")),
            ("/%zz", format!("{parse} \"/%zz\": invalid URL escape \"%zz\"")),
            ("http://[::1", format!("{parse} \"http://[::1\": missing ']' in host")),
            ("http://e:x/", format!("{parse} \"http://e:x/\": invalid port \":x\" after host")),
            ("ftp://e/x", "unsupported scheme \"ftp\" in tls-on-demand-url".to_owned()),
            ("http://", "missing host in tls-on-demand-url".to_owned()),
            ("http:e", "missing host in tls-on-demand-url".to_owned()),
        ] {
            assert_eq!(check_on_demand(url).unwrap_err().to_string(), error);
        }
    }
}
