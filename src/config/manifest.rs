//! A whole Kubernetes manifest in place of the file that it holds: `--from-file=config=cm.yaml`, or the output of `kubectl get`.

use super::document::Unreadable;
use super::finding::shown_text;
use super::node::{Content, Node};

/// What it is.
pub(super) struct Manifest {
    kind: String,
    /// The one key of its `data`; none where there are others, or none.
    key: Option<String>,
}

impl Manifest {
    /// None where `root` is something else. A list of manifests is one as well.
    pub(super) fn of(root: &Node<'_>) -> Option<Self> {
        if let Content::Sequence(items) = &root.content {
            return items.first().and_then(Self::of).map(|_| Self {
                kind: "List".into(),
                key: None,
            });
        }
        let value = |name: &str| {
            let mut entries = root.entries().iter();
            let entry = entries.find(|entry| entry.key.text() == Some(name));
            entry.map(|entry| &entry.value)
        };
        let found = ["apiVersion", "kind", "metadata", "data"].map(value);
        if found.iter().flatten().count() < 2 {
            return None;
        }
        let [_, kind, _, data] = found;
        let key = match data.map(Node::entries) {
            Some([only]) => only.key.text().map(shown_text),
            _ => None,
        };
        let kind = kind.and_then(Node::text).map(shown_text);
        Some(Self {
            kind: kind.unwrap_or_else(|| "ConfigMap".into()),
            key,
        })
    }

    pub(super) fn unreadable(&self) -> Unreadable {
        let Self { kind, key } = self;
        let key = key.as_deref().unwrap_or("config");
        let remedy = match kind.as_str() {
            "ConfigMap" => format!("write only what stands in its data.{key}"),
            _ => format!("write only what stands in data.{key} of the ConfigMap"),
        };
        Unreadable::file(format!("a whole Kubernetes manifest ({kind})"), remedy)
    }
}
