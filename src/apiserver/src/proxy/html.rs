//! Links in proxied pages, so that what a page of the backend refers to by an absolute path is found behind the proxy.
//! Upstream's `proxyutil.Transport.rewriteHTML`.
//!
//! Works on a stream: only a tag that has not ended yet is held back. What is no well-formed tag passes as it is.

/// Attributes that hold a URL: upstream's `atomsToAttrs`, of all elements together.
const LINKS: [&str; 14] = [
    "action",
    "background",
    "cite",
    "codebase",
    "data",
    "formaction",
    "href",
    "icon",
    "longdesc",
    "manifest",
    "poster",
    "profile",
    "src",
    "usemap",
];
/// Their content is text, whatever it looks like.
const RAW: [&str; 4] = ["script", "style", "textarea", "title"];
/// A tag longer than this is none.
const LONGEST_TAG: usize = 64 << 10;

/// Gives each link to `relocate`, which answers what stands there instead.
pub struct Rewriter<F> {
    relocate: F,
    /// The start of a tag whose end has not come.
    held: Vec<u8>,
    /// Within an element of [`RAW`].
    raw: Option<&'static str>,
}

impl<F: Fn(&str) -> String> Rewriter<F> {
    pub fn new(relocate: F) -> Rewriter<F> {
        Rewriter { relocate, held: Vec::new(), raw: None }
    }

    /// What of the page can be sent on after this piece of it.
    pub fn feed(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut input = std::mem::take(&mut self.held);
        input.extend_from_slice(piece);
        let mut out = Vec::with_capacity(input.len() + 64);
        let mut rest = input.as_slice();
        while let Some(open) = rest.iter().position(|b| *b == b'<') {
            out.extend_from_slice(&rest[..open]);
            rest = &rest[open..];
            let comment = rest.starts_with(b"<!--");
            let end = if comment { find(rest, b"-->").map(|i| i + 3) } else { tag_end(rest) };
            let Some(end) = end else {
                if rest.len() > LONGEST_TAG {
                    break;
                }
                self.held = rest.to_vec();
                return out;
            };
            let (tag, after) = rest.split_at(end);
            rest = after;
            match std::str::from_utf8(tag) {
                Ok(tag) if !comment => out.extend_from_slice(self.tag(tag).as_bytes()),
                _ => out.extend_from_slice(tag),
            }
        }
        out.extend_from_slice(rest);
        out
    }

    /// What was held back when the page ended.
    pub fn finish(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.held)
    }

    /// From `<` to `>`.
    fn tag(&mut self, tag: &str) -> String {
        let name: String = tag[1..].chars().take_while(|c| c.is_ascii_alphanumeric() || *c == '/').collect();
        let name = name.trim_end_matches('/').to_ascii_lowercase();
        if let Some(raw) = self.raw {
            if name.strip_prefix('/') == Some(raw) {
                self.raw = None;
            }
            return tag.to_owned();
        }
        self.raw = RAW.into_iter().find(|r| *r == name);
        let mut out = String::with_capacity(tag.len() + 64);
        let mut rest = tag;
        while let Some(equals) = rest.find('=') {
            let (before, value) = rest.split_at(equals + 1);
            out.push_str(before);
            let attribute = before[..equals].rsplit(|c: char| c.is_whitespace() || c == '/').find(|s| !s.is_empty());
            let blanks = value.len() - value.trim_start().len();
            out.push_str(&value[..blanks]);
            let value = &value[blanks..];
            let quote = value.chars().next().filter(|c| matches!(c, '"' | '\''));
            let inner = &value[quote.map_or(0, char::len_utf8)..];
            let length = match quote {
                Some(quote) => inner.find(quote),
                None => inner.find(|c: char| c.is_whitespace() || c == '>'),
            };
            let (url, after) = inner.split_at(length.unwrap_or(inner.len()));
            out.extend(quote);
            match attribute.is_some_and(|a| LINKS.contains(&a.to_ascii_lowercase().as_str())) {
                true => out.push_str(&(self.relocate)(url)),
                false => out.push_str(url),
            }
            out.extend(quote.filter(|_| length.is_some()));
            rest = &after[quote.filter(|_| length.is_some()).map_or(0, char::len_utf8)..];
        }
        out.push_str(rest);
        out
    }
}

fn find(text: &[u8], what: &[u8]) -> Option<usize> {
    text.windows(what.len()).position(|w| w == what)
}

/// Behind the `>` that ends the tag at the start; one in quotes does not.
fn tag_end(text: &[u8]) -> Option<usize> {
    let mut quote = None;
    for (i, b) in text.iter().enumerate() {
        match (quote, b) {
            (None, b'>') => return Some(i + 1),
            (None, b'"' | b'\'') if text[..i].ends_with(b"=") => quote = Some(*b),
            (Some(q), b) if q == *b => quote = None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rewrite(page: &str, piece: usize) -> String {
        let mut rewriter =
            Rewriter::new(|url: &str| if url.starts_with('/') { format!("/proxy{url}") } else { url.to_owned() });
        let mut out: Vec<u8> = page.as_bytes().chunks(piece).flat_map(|c| rewriter.feed(c)).collect();
        out.extend(rewriter.finish());
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn absolute_links_are_sent_through_the_proxy() {
        for (page, want) in [
            (r#"<a href="/rewriteme">test</a>"#, r#"<a href="/proxy/rewriteme">test</a>"#),
            ("<img alt='/x' src='/a.png'/> /b", "<img alt='/x' src='/proxy/a.png'/> /b"),
            ("<a href=/x>y</a>", "<a href=/proxy/x>y</a>"),
            ("<a href = \"/x\" class=\"a>b\">", "<a href = \"/proxy/x\" class=\"a>b\">"),
            ("<a href=\"x\"><a href=\"http://e/x\">", "<a href=\"x\"><a href=\"http://e/x\">"),
            (
                "<script src=\"/s.js\">'<a href=\"/x\">'</script><a href=\"/y\">",
                "<script src=\"/proxy/s.js\">'<a href=\"/x\">'</script><a href=\"/proxy/y\">",
            ),
            ("<!-- <a href=\"/x\"> --><p>1 < 2</p>", "<!-- <a href=\"/x\"> --><p>1 < 2</p>"),
            ("<a href=\"/x", "<a href=\"/x"),
            ("<FORM ACTION='/x' method=post>ä</FORM>", "<FORM ACTION='/proxy/x' method=post>ä</FORM>"),
        ] {
            for piece in [1, 3, 1000] {
                assert_eq!(rewrite(page, piece), want, "in pieces of {piece}");
            }
        }
    }
}
