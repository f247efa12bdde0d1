//! Small pieces of a page: escaping, tables, the frame. It knows HTML, and no result.

use serde::Serialize;

const STYLE: &str = include_str!("style.css");

/// Text as it may stand in an element or attribute.
pub(super) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

/// A table; its cells are HTML already.
pub(super) fn table(heads: &[&str], rows: &[Vec<String>]) -> String {
    let width = heads.len();
    let heads: String = heads.iter().map(|head| format!("<th>{}</th>", escape(head))).collect();
    let rows: String = rows
        .iter()
        .map(|cells| {
            let cells: String = cells.iter().map(|cell| format!("<td>{cell}</td>")).collect();
            format!("<tr>{cells}</tr>\n")
        })
        .collect();
    // Pairs fit the narrowest screen if their texts may wrap; wider tables scroll.
    let class = if width == 2 { " class=\"pairs\"" } else { "" };
    format!(
        "<div class=\"scroll\"><table{class}><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table></div>\n"
    )
}

/// A whole page, which needs nothing from elsewhere. `raw` stands in it as JSON.
pub(super) fn page(title: &str, body: &str, raw: &impl Serialize) -> String {
    // What is stored was JSON before; a value that cannot be written again is left out.
    let json = serde_json::to_string(raw).unwrap_or_else(|_| "null".to_owned());
    // Within a script only its own end would end it.
    let json = json.replace("</", "<\\/");
    format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">\
         <title>{}</title><style>\n{STYLE}</style></head>\n<body><main>\n{body}\n\
         <p class=\"soft\">The raw results are in this file, as JSON in the element <code>raw</code>.</p>\n\
         </main><script type=\"application/json\" id=\"raw\">{json}</script></body></html>\n",
        escape(title)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_is_shown_ends_an_element() {
        assert_eq!(escape("<a \"b\" & c>"), "&lt;a &quot;b&quot; &amp; c&gt;");
        let html = page("x</title>", "", &"</script><b>");
        assert_eq!(html.matches("</script>").count(), 1);
        assert_eq!(html.matches("</title>").count(), 1);
    }
}
