//! Lists as Go's flags take them: one CSV record each.

/// One CSV record as Go's `encoding/csv` reads it; an empty text is no element.
pub(super) fn parse(text: &str) -> Result<Vec<String>, String> {
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let error = |at: usize, why: &str| format!("parse error on line 1, column {}: {why}", at + 1);
    let quoting = "extraneous or missing \" in quoted-field";
    let mut fields = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let (field, used) = match rest.strip_prefix('"') {
            None => bare_field(rest).map_err(|quote| error(at + quote, "bare \" in non-quoted-field"))?,
            Some(quoted) => match quoted_field(quoted) {
                Quoted::Field(field, used) => (field, used + 1),
                Quoted::Extraneous(quote) => return Err(error(at + 1 + quote, quoting)),
                Quoted::Open => return Err(error(text.len(), quoting)),
            },
        };
        fields.push(field);
        at += used;
        if text.as_bytes().get(at) != Some(&b',') {
            return Ok(fields);
        }
        at += 1;
    }
}

/// The field up to the next comma or line's end; the place of a quote that must not stand there.
fn bare_field(rest: &str) -> Result<(String, usize), usize> {
    let line = rest.lines().next().unwrap_or_default();
    let field = line.split(',').next().unwrap_or_default();
    match field.find('"') {
        Some(quote) => Err(quote),
        None => Ok((field.to_owned(), field.len())),
    }
}

enum Quoted {
    /// The field, and the bytes it used.
    Field(String, usize),
    /// A quote inside, here.
    Extraneous(usize),
    /// No closing quote.
    Open,
}

fn quoted_field(rest: &str) -> Quoted {
    let mut field = String::new();
    let mut at = 0;
    loop {
        let tail = rest.get(at..).unwrap_or_default();
        let Some(quote) = tail.find('"') else { return Quoted::Open };
        field.push_str(tail.get(..quote).unwrap_or_default());
        at += quote + 1;
        match rest.as_bytes().get(at) {
            Some(b'"') => {
                field.push('"');
                at += 1;
            }
            None | Some(b',' | b'\r' | b'\n') => return Quoted::Field(field, at),
            Some(_) => return Quoted::Extraneous(at - 1),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::strategy::Strategy as _;

    use super::*;

    proptest::proptest! {
        #[test]
        fn any_list_can_be_given_as_one_record(
            fields in proptest::collection::vec("[a-c\",é\n ]{0,4}", 1..5)
                .prop_filter("nothing at all is no element", |fields| *fields != [""]),
        ) {
            let quoted: Vec<String> = fields.iter().map(|field| format!("\"{}\"", field.replace('"', "\"\""))).collect();
            proptest::prop_assert_eq!(parse(&quoted.join(",")), Ok(fields));
        }

        #[test]
        fn no_text_makes_the_parser_fall(text in ".{0,12}") {
            let _ = parse(&text);
        }
    }
}
