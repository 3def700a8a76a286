//! Files that cost a careless reader much more than their size.

/// A file by its name, and how it is made in a given size.
pub(crate) struct Hostile {
    /// What it is, for a table of times.
    pub(crate) name: &'static str,
    make: fn(usize) -> String,
}

impl Hostile {
    /// The file in at most `bytes` bytes.
    pub(crate) fn bytes(&self, bytes: usize) -> Vec<u8> {
        let mut file = (self.make)(bytes).into_bytes();
        file.truncate(bytes);
        file
    }
}

fn fill(head: &str, unit: &str, bytes: usize) -> String {
    format!(
        "{head}{}",
        unit.repeat(bytes.saturating_sub(head.len()) / unit.len())
    )
}

fn numbered(head: &str, bytes: usize, line: impl Fn(usize) -> String) -> String {
    let mut file = head.to_string();
    for number in 0.. {
        let line = line(number);
        if file.len() + line.len() > bytes {
            break;
        }
        file.push_str(&line);
    }
    file
}

fn around(head: &str, unit: &str, tail: &str, bytes: usize) -> String {
    fill(head, unit, bytes - tail.len()) + tail
}

/// As many of `unit` as there may be keys and items, then a comment.
fn dense(unit: &str, bytes: usize) -> String {
    let indicators = unit.matches(['?', '-', ',', '{']).count();
    let file = unit.repeat(((1 << 18) - 2) / indicators);
    let rest = bytes.saturating_sub(file.len());
    file + "#" + &" ".repeat(rest)
}

/// The same prefixes in both lists, in the other order in one of them.
fn in_both_lists(bytes: usize) -> String {
    let list = numbered("", bytes / 2 - 30, |i| {
        let [a, b, c, d] = u32::try_from(i).unwrap_or(0).to_be_bytes();
        format!("{}.{b}.{c}.{d}/32,", a + 1)
    });
    let backwards: String = list.split_inclusive(',').rev().collect();
    format!("nonMasqueradeCIDRs: [{list}]\nmasqueradeCIDRs: [{backwards}]\n")
}

/// Heads that put what follows into the list.
const BLOCK: &str = "nonMasqueradeCIDRs:\n";
const FLOW: &str = "nonMasqueradeCIDRs: [";

macro_rules! hostile {
    ($($name:literal => $make:expr,)*) => {
        &[$(Hostile { name: $name, make: $make }),*]
    };
}

/// All of them.
pub(crate) const HOSTILE: &[Hostile] = hostile! {
    "shortest good list, flow" => |n| around(FLOW, "1.0.0.0/8,", "]", n),
    "shortest good list, JSON" => |n| around("{\"nonMasqueradeCIDRs\":[", "\"1.0.0.0/8\",", "\"1.0.0.0/8\"]}", n),
    "good list with 1 MiB of dense keys" => |n| around(&format!("{BLOCK}{}", "- 10.0.0.0/24\n".repeat(n / 18)), "? \n", "", n),
    "as dense as is taken, ?" => |n| dense("?\n", n),
    "as dense as is taken, ? ? ?" => |n| dense("? ", n),
    "as dense as is taken, - - -" => |n| dense("- ", n),
    "as dense as is taken, flow" => |n| dense("{a,b,c,d,e},", n).replacen('{', "[{", 1),
    "list of IPv6" => |n| numbered(BLOCK, n, |i| format!("- fd00:1:{:x}::/48\n", i % 65536)),
    "good list, block" => |n| numbered(BLOCK, n, |i| format!("- 10.{}.{}.0/24\n", i / 256 % 256, i % 256)),
    "good list, flow, one line" => |n| numbered(FLOW, n - 1, |i| format!("10.{}.{}.0/24,", i / 256 % 256, i % 256)) + "]",
    "good list, JSON" => |n| numbered("{\"nonMasqueradeCIDRs\":[", n - 14, |i| format!("\"10.{}.{}.0/24\",", i / 256 % 256, i % 256)) + "\"10.0.0.0/8\"]}",
    "items of one character, block" => |n| fill(BLOCK, "- a\n", n),
    "items of one character, flow" => |n| around(FLOW, "a,", "]", n),
    "items of one character, 255 brackets" => |n| around(&format!("{FLOW}{}", "[".repeat(255)), "a,", &"]".repeat(256), n),
    "items of one digit, 120 brackets, JSON" => |n| around(&format!("{{\"a\":{}", "[".repeat(120)), "1,", &("1".to_owned() + &"]".repeat(120) + "}"), n),
    "empty lists, 120 brackets, JSON" => |n| around(&format!("{{\"a\":{}", "[".repeat(120)), "[],", &("1".to_owned() + &"]".repeat(120) + "}"), n),
    "pairs, 255 brackets" => |n| around(&format!("{FLOW}{}", "[".repeat(255)), "a: b,", &"]".repeat(256), n),
    "empty block scalars" => |n| fill(BLOCK, "- |\n", n),
    "colons and tabs" => |n| fill("a: b\n# ", ":\t", n),
    "lookalikes" => |n| fill("", "\u{ff1a}", n),
    "lines with lookalikes" => |n| fill("", "\u{a0} #\n", n),
    "addresses that end in a colon" => |n| fill(BLOCK, "- a::\n", n),
    "hexadecimal words" => |n| fill(BLOCK, "- 0x\n", n),
    "items of one digit, flow" => |n| around(FLOW, "1,", "]", n),
    "items of one digit, JSON" => |n| around("{\"nonMasqueradeCIDRs\":[", "1,", "1]}", n),
    "items, JSON unclosed" => |n| fill("{\"nonMasqueradeCIDRs\":[", "1,", n),
    "empty items, block" => |n| fill(BLOCK, "-\n", n),
    "empty strings, flow" => |n| around(FLOW, "'',", "]", n),
    "empty flow lists" => |n| around(FLOW, "[],", "]", n),
    "empty flow mappings" => |n| around(FLOW, "{},", "]", n),
    "pairs in flow list" => |n| around(FLOW, ":,", "]", n),
    "pairs in flow list, with keys" => |n| around(FLOW, "a: ,", "]", n),
    "explicit pairs in flow list" => |n| around(FLOW, "? ,", "]", n),
    "flow mapping of nulls" => |n| around("{", "a,", "}", n),
    "- - - -" => |n| fill("", "- ", n),
    "list of - - - -" => |n| fill("nonMasqueradeCIDRs: \n", "- ", n),
    "? ? ? ?" => |n| fill("", "? ", n),
    ": : : :" => |n| fill("", ": ", n),
    "? newline" => |n| fill("", "?\n", n),
    ": newline" => |n| fill("", ":\n", n),
    "[" => |n| fill("", "[", n),
    "{" => |n| fill("", "{", n),
    "[ as items" => |n| fill(BLOCK, "- [\n", n),
    "[] pairs" => |n| fill("", "[]", n),
    "]" => |n| fill("", "]", n),
    "{a: {a:" => |n| fill("", "{a: ", n),
    "{\"a\":{\"a\":" => |n| fill("", "{\"a\":", n),
    "[ in quotes" => |n| fill("", "\"[", n),
    "[ in comments" => |n| fill("", "# [\n", n),
    "[ hidden by comments" => |n| fill("", "[ # ]\n", n),
    "[ hidden by quotes" => |n| fill("", "[ \"\n]\n\",", n),
    "[ hidden by apostrophes" => |n| fill("", "[ '\n]''\n',", n),
    "[ after a block scalar" => |n| fill("a: |\n  \"\nb: ", "[", n),
    "[ after a quote in a comment" => |n| fill("# \"\na: ", "[", n),
    "unresolved aliases" => |n| fill(FLOW, "*x,", n),
    "aliases of a character" => |n| around("nonMasqueradeCIDRs: [&x a,", "*x,", "]", n),
    "aliases of a long string" => |n| around(&format!("nonMasqueradeCIDRs: [&x {},", "a".repeat(n / 2)), "*x,", "]", n),
    "aliases of a long tag" => |n| around(&format!("nonMasqueradeCIDRs: [&x !{} a,", "a".repeat(n / 2)), "*x,", "]", n),
    "aliases of a long list" => |n| around(&format!("a: &x [{}]\nnonMasqueradeCIDRs: [", "1,".repeat(n / 4)), "*x,", "]", n),
    "aliases of a long list within" => |n| around(&format!("a: &x [[{}]]\nnonMasqueradeCIDRs: [", "1,".repeat(n / 4)), "*x,", "]", n),
    "keys that are aliases of a long list" => |n| fill(&format!("a: &x [{}]\n", "1,".repeat(n / 4)), "? *x\n: *x\n", n),
    "alias bomb" => |n| numbered("a0: &a0 [1,1,1,1,1,1,1,1,1,1]\n", n, |i| format!("a{}: &a{} [*a{i},*a{i},*a{i},*a{i},*a{i},*a{i},*a{i}]\n", i + 1, i + 1)),
    "alias to itself" => |n| around("a: &x [", "*x,", "]", n),
    "anchors on items" => |n| numbered(FLOW, n - 1, |i| format!("&a{i} b,")) + "]",
    "the same anchor again" => |n| around(FLOW, "&a b,", "]", n),
    "long anchors" => |n| numbered(FLOW, n - 1, |i| format!("&{}{i} b,", "a".repeat(900))) + "]",
    "anchors &&&&" => |n| fill("", "&", n),
    "anchors & & &" => |n| fill("", "&a ", n),
    "aliases ****" => |n| fill("", "*", n),
    "tags !!!!" => |n| fill("", "!", n),
    "tags ! ! !" => |n| fill("", "! ", n),
    "tags on items" => |n| around(FLOW, "!a b,", "]", n),
    "core tags on items" => |n| around(FLOW, "!!str b,", "]", n),
    "escaped tag" => |n| fill("a: !", "%41", n),
    "verbatim tag" => |n| fill("a: !<", "x", n),
    "directives %TAG" => |n| numbered("", n - 6, |i| format!("%TAG !a{i}! b\n")) + "---\na",
    "directives %TAG, CR" => |n| numbered("", n - 6, |i| format!("%TAG !a{i}! b\r")) + "---\na",
    "prefix of a %TAG" => |n| format!("%TAG ! {}\n---\n{}", "t".repeat(n / 2), "- !a b\n".repeat(n / 14)),
    "short prefix of a %TAG" => |n| format!("%TAG ! {}\n---\n{}", "t".repeat(50), "- !a b\n".repeat(n / 7 - 10)),
    "directives %" => |n| fill("", "%\n", n),
    "%%%%" => |n| fill("", "%", n),
    "63 tag handles and tags" => |n| around(&(numbered("", 1_000, |i| format!("%TAG !a{i}! b\n")).lines().take(63).collect::<Vec<_>>().join("\n") + "\n--- ["), "!a9!x b,", "]", n),
    "huge plain scalar" => |n| fill("a: ", "x", n),
    "huge plain scalar of words" => |n| fill("a: ", "x ", n),
    "huge plain scalar of lines" => |n| fill("a: x\n", "  x\n", n),
    "huge plain scalar of empty lines" => |n| fill("a: x\n", "\n\n  x", n),
    "huge quoted scalar" => |n| around("resyncInterval: \"", "x", "\"", n),
    "huge quoted scalar of lines" => |n| around("resyncInterval: \"", "x\n  ", "\"", n),
    "huge quoted scalar of breaks" => |n| around("resyncInterval: \"", "\n", "\"", n),
    "huge quoted scalar of spaces" => |n| around("resyncInterval: \"", " ", "\"", n),
    "huge interval" => |n| fill("resyncInterval: ", "1s", n),
    "huge fraction" => |n| fill("resyncInterval: 1.", "1", n) + "s",
    "huge number" => |n| fill("cidrLimit: ", "1", n),
    "huge float" => |n| fill("cidrLimit: 1.", "1", n),
    "huge float, JSON" => |n| around("{\"cidrLimit\": 1.", "1", "}", n),
    "huge hexadecimal" => |n| fill("cidrLimit: 0x", "f", n),
    "huge minus" => |n| fill("cidrLimit: ", "-", n),
    "huge CIDR" => |n| around(FLOW, "1.", "/8]", n),
    "huge CIDR of commas" => |n| around("nonMasqueradeCIDRs: [\"", "10.0.0.0/8,", "\"]", n),
    "!!int of a huge string" => |n| fill("a: !!int ", "x", n),
    "quotes" => |n| fill("", "\"", n),
    "apostrophes" => |n| fill("", "'", n),
    "pairs of quotes" => |n| fill("a: ", "\"\" ", n),
    "escapes of digits" => |n| around("resyncInterval: \"", "\\u0035", "\"", n),
    "escapes of digits, JSON" => |n| around("{\"resyncInterval\": \"", "\\u0035", "\"}", n),
    "escapes of three bytes" => |n| around("resyncInterval: \"", "\\L", "\"", n),
    "escaped breaks" => |n| around("resyncInterval: \"", "\\\n", "\"", n),
    "#" => |n| fill("", "#", n),
    "# lines" => |n| fill("", "#\n", n),
    "spaced # lines in a list" => |n| fill("nonMasqueradeCIDRs:\n- 10.0.0.0/8\n", " #\n", n),
    "newlines" => |n| fill("", "\n", n),
    "newlines in a list" => |n| fill(FLOW, "\n", n),
    "CRLF" => |n| fill("", "\r\n", n),
    "CR" => |n| fill("", "\r", n),
    "line separators" => |n| fill("", "\u{2028}", n),
    "CRLF items" => |n| fill("nonMasqueradeCIDRs:\r\n", "- x\r\n", n),
    "tabs" => |n| fill("", "\t", n),
    "tabs after a key" => |n| fill("a:", "\t", n),
    "spaces" => |n| fill("", " ", n),
    "spaces and a key" => |n| around("", " ", "a: b", n),
    "NULs" => |n| fill("", "\0", n),
    "byte order marks" => |n| fill("", "\u{feff}", n),
    "wide characters" => |n| fill("a: ", "\u{10ffff}", n),
    "not UTF-8 at the end" => |n| fill("", "\u{e9}", n - 1),
    "documents" => |n| fill("", "---\n", n),
    "document ends" => |n| fill("", "...\n", n),
    "unknown keys" => |n| numbered("", n, |i| format!("{i:x}a:\n")),
    "unknown key again" => |n| fill("", "a:\n", n),
    "known key again" => |n| fill("", "cidrLimit:\n", n),
    "known key, other case" => |n| fill("", "CIDRLIMIT: 1\n", n),
    "known list again" => |n| fill(&format!("nonMasqueradeCIDRs: &x [{}]\n", "1,".repeat(n / 4)), "nonMasqueradeCIDRs: *x\n", n),
    "unknown keys, flow" => |n| around("{", "a: ,", "}", n),
    "unknown keys, JSON" => |n| around("{", "\"a\":1,", "\"b\":1}", n),
    "keys that are numbers" => |n| fill("", "1:\n", n),
    "huge key" => |n| around("", "a", ": 1", n),
    "huge key, explicit" => |n| fill("? ", "a", n),
    "huge key, JSON" => |n| around("{\"", "a", "\":1}", n),
    "huge key of lines" => |n| around("{\"", "a\n", "\": 1}", n),
    "long keys" => |n| numbered("", n, |i| format!("{}{i}: 1\n", "nonMasqueradeCIDRs".repeat(40))),
    "ever deeper mappings" => |n| numbered("", n, |i| format!("{}a:\n", " ".repeat(i))),
    "ever deeper lists" => |n| numbered("a:\n", n, |i| format!("{}-\n", " ".repeat(i))),
    "ever deeper, then back" => |n| numbered(&numbered("", n / 2, |i| format!("{}a:\n", " ".repeat(i))), n, |_| "b:\n".into()),
    "-\\n within -" => |n| fill("- a\n", "- - -\n", n),
    "a: - a" => |n| fill("", "a: - ", n),
    "block scalars |" => |n| fill("", "|\n", n),
    "block scalar header" => |n| fill("a: ", "|", n),
    "block scalar of lines" => |n| fill("a: |\n", " b\n", n),
    "block scalar of empty lines" => |n| fill("a: |\n", "\n", n),
    "block scalar of spaces" => |n| fill("a: |\n", " ", n),
    "folded scalar of empty lines" => |n| fill("a: >\n x\n", "\n\n x\n", n),
    "folded scalars as items" => |n| fill(BLOCK, "- >\n x\n", n),
    "block scalar with indent" => |n| numbered("a: |\n", n, |i| format!("{}\n", " ".repeat(i))),
    "simple keys over lines" => |n| fill("", "a\n", n),
    "simple keys over lines, flow" => |n| fill("{", "a\n", n),
    "quoted keys never ended" => |n| fill("{", "\"a\" ", n),
    "quoted keys in a list" => |n| around("[", "\"a\",", "]", n),
    "list in a list as key" => |n| fill("", "[[a]]: ", n),
    "both lists hold the same" => in_both_lists,
    "both lists hold the same one" => |n| {
        let list = fill("", "10.0.0.0/8,", n / 2 - 30);
        format!("nonMasqueradeCIDRs: [{list}]\nmasqueradeCIDRs: [{list}]\n")
    },
    "both lists differ, JSON" => |n| {
        let list = |first: usize| numbered("", n / 2 - 30, |i| format!("\"{first}.{}.{}.0/24\",", i / 256 % 256, i % 256));
        format!("{{\"masqueradeCIDRs\":[{}\"1.0.0.0/8\"],\"nonMasqueradeCIDRs\":[{}\"2.0.0.0/8\"]}}", list(1), list(2))
    },
    "masqueradeCIDRs without the other list" => |n| around("masqueradeCIDRs: [", "10.0.0.0/8,", "]", n),
    "three lists of IPv6, off" => |n| {
        let list = numbered("", n / 3, |i| format!("fd00:{:x}::/32,", i % 65536));
        format!("masqueradeCIDRs: [{list}]\nsourceCIDRs: [{list}]\nenableIPv6: false\nnonMasqueradeCIDRs: [{list}")
    },
    "three lists, too long and bad" => |n| {
        let list = fill("", "1.0.0.0,", n / 3 - 30);
        format!("sourceCIDRs: [{list}]\nmasqueradeCIDRs: [{list}]\nnonMasqueradeCIDRs: [{list}]\ncidrLimit: 1")
    },
    "IPv4-mapped, flow" => |n| around(FLOW, "'::ffff:0:0/96',", "]", n),
    "port ranges" => |n| fill("toPorts: 1", ",1", n),
    "port ranges of commas" => |n| fill("toPorts: 1", ",", n),
    "port range of digits" => |n| fill("toPorts: ", "1", n),
    "port range of zeros" => |n| fill("toPorts: ", "0", n),
    "port range of minuses" => |n| fill("toPorts: 1", "-", n),
    "port range of spaces" => |n| around("toPorts: \"1", " ", "\"", n),
    "integer of underscores" => |n| fill("cidrLimit: 1", "_", n),
    "integer of zeros" => |n| fill("cidrLimit: 0", "0", n),
    "yes" => |n| fill("masqLinkLocal: yes\nmasqLinkLocalIPv6: ", "\n", n - 3) + "on",
    "interfaces" => |n| numbered("outputInterfaces:\n", n, |i| format!("- e{i}\n")),
    "interfaces that begin so" => |n| numbered("outputInterfaces:\n", n, |i| format!("- e{i:06}*\n- e{i:06}1\n")),
    "items of one digit, 250 brackets" => |n| around(&format!("a: {}", "[".repeat(250)), "1,", &("1".to_owned() + &"]".repeat(250)), n),
    "empty lists, 250 brackets" => |n| around(&format!("a: {}", "[".repeat(250)), "[],", &("1".to_owned() + &"]".repeat(250)), n),
    "ends at the starts of lines" => |n| fill("nonMasqueradeCIDRs: [", "\n]", n),
};
