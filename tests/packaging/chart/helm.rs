//! What Helm makes of the chart. Debian has no Helm: an engine of Go's templates stands in for it, with as many of Helm's own
//! functions as the chart uses, so that another one is an error here.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::{Arc, OnceLock};

use gotmpl::Result;
use gotmpl::{MissingKey, Template, Value as Argument};
use serde_json::{Map, Value, json};

use crate::packaging::manifests::read::{documents, repository};

pub(crate) fn chart() -> PathBuf {
    repository().join("manifests/helm/non-masquerade-daemon")
}

/// A YAML file of the chart.
pub(crate) fn file(name: &str) -> Value {
    let text = fs::read_to_string(chart().join(name)).unwrap();
    let [document] = documents(&text).try_into().unwrap();
    document
}

/// The objects of a release in `namespace`, those of hooks included.
pub(crate) fn rendered(values: &Value, namespace: &str) -> Vec<Value> {
    let metadata = file("Chart.yaml");
    let data = json!({
        "Values": merged(values.clone(), file("values.yaml")),
        "Chart": { "AppVersion": metadata["appVersion"] },
        "Release": { "Namespace": namespace },
    });
    let data = gotmpl::to_value(&data).unwrap();
    let (names, template) = template();
    let texts = names
        .iter()
        .map(|name| template.execute_template_to_string(name, &data).unwrap());
    let objects = texts.flat_map(|text| documents(&text));
    objects.filter(|object| !object.is_null()).collect()
}

/// What `first` has, and beside that what `second` has, as Helm puts values before those of the chart.
fn merged(first: Value, second: Value) -> Value {
    match (first, second) {
        (Value::Object(first), Value::Object(mut all)) => {
            for (key, value) in first {
                let below = all.remove(&key).unwrap_or_default();
                all.insert(key, merged(value, below));
            }
            Value::Object(all)
        }
        (first, _) => first,
    }
}

/// All files of the chart's templates as one, and the names of those that are objects.
fn template() -> (Vec<String>, Arc<Template>) {
    let itself = Arc::new(OnceLock::new());
    let mut template = with_functions(Template::new("chart"), itself.clone());
    let mut names = Vec::new();
    let mut paths: Vec<PathBuf> = fs::read_dir(chart().join("templates"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    for path in paths {
        // A method of Helm's, which this engine has no word for.
        let text = fs::read_to_string(&path).unwrap();
        let text = text.replace("$.Files.Get", "filesGet");
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with('_') {
            template = template.parse(&text).unwrap();
        } else {
            let define = format!("{{{{define \"{name}\"}}}}{text}{{{{end}}}}");
            template = template.parse(&define).unwrap();
            names.push(name);
        }
    }
    let template = Arc::new(template);
    itself.set(Arc::clone(&template)).ok();
    (names, template)
}

/// Helm's functions, by its documentation and that of sprig.
fn with_functions(template: Template, itself: Arc<OnceLock<Arc<Template>>>) -> Template {
    let include = move |of: &[Argument]| {
        let template = itself.get().unwrap();
        template.execute_template_to_string(&text(&of[0]), &of[1])
    };
    let file = |of: &[Argument]| fs::read_to_string(chart().join(text(&of[0]))).unwrap();
    let indented = |of: &[Argument]| {
        let Argument::Int(width) = of[0] else {
            panic!("{of:?}");
        };
        let newline = format!("\n{}", " ".repeat(width.try_into().unwrap()));
        newline.clone() + &text(&of[1]).replace('\n', &newline)
    };
    let yaml = |of: &[Argument]| serde_yaml::to_string(&json_of(&of[0])).unwrap();
    let quoted = |of: &[Argument]| json!(of[0].to_string()).to_string();
    let replaced = |of: &[Argument]| text(&of[2]).replace(&text(&of[0]), &text(&of[1]));
    let template = template
        .missing_key(MissingKey::Error)
        .func("include", move |of| Ok(include(of)?.into()))
        .func("filesGet", move |of| Ok(file(of).into()))
        .func("nindent", move |of| Ok(indented(of).into()))
        .func("toYaml", move |of| Ok(yaml(of).trim_end().into()))
        .func("quote", move |of| Ok(quoted(of).into()))
        .func("replace", move |of| Ok(replaced(of).into()))
        .func("upper", |of| Ok(text(&of[0]).to_uppercase().into()));
    with_functions_of_values(template)
}

/// As above, those that give no text.
fn with_functions_of_values(template: Template) -> Template {
    let from_yaml = |of: &[Argument]| {
        let [document] = documents(&text(&of[0])).try_into().unwrap();
        gotmpl::to_value::<Value>(&document)
    };
    let chosen = |of: &[Argument]| of[usize::from(!of[2].is_truthy())].clone();
    let defaulted = |of: &[Argument]| of[usize::from(of[1].is_truthy())].clone();
    let appended = |of: &[Argument]| -> Result<Argument> {
        let mut list = json_of(&of[0]);
        list.as_array_mut().unwrap().push(json_of(&of[1]));
        gotmpl::to_value(&list)
    };
    let dictionary = |of: &[Argument]| -> Result<Argument> {
        let pairs = of.chunks_exact(2);
        let pairs = pairs.map(|pair| (text(&pair[0]), json_of(&pair[1])));
        gotmpl::to_value(&pairs.collect::<BTreeMap<_, _>>())
    };
    let merge = |of: &[Argument]| gotmpl::to_value(&merged(json_of(&of[0]), json_of(&of[1])));
    template
        .func("fromYaml", from_yaml)
        .func("ternary", move |of| Ok(chosen(of)))
        .func("default", move |of| Ok(defaulted(of)))
        .func("empty", |of| Ok(Argument::Bool(!of[0].is_truthy())))
        .func("append", appended)
        .func("list", |of| Ok(Argument::List(of.into())))
        .func("dict", dictionary)
        .func("merge", merge)
}

fn text(value: &Argument) -> String {
    value
        .as_str()
        .unwrap_or_else(|| panic!("{value:?}"))
        .to_owned()
}

fn json_of(value: &Argument) -> Value {
    match value {
        Argument::Nil => Value::Null,
        Argument::Bool(value) => json!(value),
        Argument::Int(value) => json!(value),
        Argument::Uint(value) => json!(value),
        Argument::Float(value) => json!(value),
        Argument::String(value) => json!(&**value),
        Argument::List(items) => items.iter().map(json_of).collect(),
        Argument::Map(entries) => entries
            .iter()
            .map(|(key, value)| (key.to_string(), json_of(value)))
            .collect::<Map<_, _>>()
            .into(),
        other => panic!("{other:?}"),
    }
}
