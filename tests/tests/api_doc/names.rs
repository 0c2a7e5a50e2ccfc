//! The public names of the workspace's crates, read from their source.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::{Fields, ImplItem, Item, TraitItem, UseTree, Visibility};

/// Longest chain of `use` that is followed.
const MAX_DEPTH: usize = 32;

/// What a module declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Module,
    Definition,
}

/// What a name stands for: the place of its definition, as a path from the name of the crate on.
#[derive(Debug, Clone)]
enum Meaning {
    Module(String),
    Definition(String),
    /// Of a crate that is not looked into.
    Foreign,
}

#[derive(Debug, Default)]
struct Module {
    /// Modules and definitions by name; whether they are public.
    items: BTreeMap<String, (Kind, bool)>,
    /// `use` by the name that it gives; where it points, and whether it is public.
    uses: Vec<(String, Vec<String>, bool)>,
    /// Modules of `use path::*`.
    globs: Vec<(Vec<String>, bool)>,
}

/// Members of a type or trait: variants, public fields, public methods and constants; with those of each variant.
type Members = BTreeMap<String, BTreeSet<String>>;

/// All names of some crates.
#[derive(Debug, Default)]
pub(crate) struct Names {
    modules: BTreeMap<String, Module>,
    members: BTreeMap<String, Members>,
    variants: BTreeMap<String, Vec<String>>,
    methods: BTreeMap<String, BTreeSet<String>>,
    /// Blocks that wait until all modules are known: module, path of the type, members.
    blocks: Vec<(String, Vec<String>, Vec<String>)>,
}

fn is_public(visibility: &Visibility) -> bool {
    matches!(visibility, Visibility::Public(_))
}

fn is_test(attrs: &[syn::Attribute]) -> bool {
    attrs.iter().any(|a| {
        a.path().is_ident("cfg") && a.parse_args::<syn::Ident>().is_ok_and(|argument| argument == "test")
    })
}

impl Names {
    /// Reads crates: names, and their first files.
    pub(crate) fn read<'a>(crates: impl IntoIterator<Item = (&'a str, PathBuf)>) -> Self {
        let mut names = Self::default();
        for (name, file) in crates {
            let dir = file.parent().expect("a file is in a directory").to_owned();
            names.module(name, &parse(&file).items, &dir);
        }
        for (module, path, members) in std::mem::take(&mut names.blocks) {
            // Blocks for types of other crates, references and the like add no names of ours.
            if let Some(Meaning::Definition(definition)) = names.resolve(&module, &path, false, 0) {
                names.methods.entry(definition.clone()).or_default().extend(members.iter().cloned());
                let all = names.members.entry(definition).or_default();
                all.extend(members.into_iter().map(|m| (m, BTreeSet::new())));
            }
        }
        names
    }

    fn module(&mut self, path: &str, items: &[Item], dir: &Path) {
        let mut module = Module::default();
        for item in items {
            match item {
                Item::Mod(m) if !is_test(&m.attrs) => {
                    let name = m.ident.to_string();
                    let (inner, child) = (dir.join(&name), format!("{path}::{name}"));
                    match &m.content {
                        Some((_, items)) => self.module(&child, items, &inner),
                        None => {
                            let file = dir.join(format!("{name}.rs"));
                            let file = if file.exists() { file } else { inner.join("mod.rs") };
                            self.module(&child, &parse(&file).items, &inner);
                        }
                    }
                    module.items.insert(name, (Kind::Module, is_public(&m.vis)));
                }
                Item::Use(u) => uses(&u.tree, &mut Vec::new(), is_public(&u.vis), &mut module),
                Item::Impl(block) if !is_test(&block.attrs) => self.block(path, block),
                other => {
                    if let Some((name, public)) = self.definition(path, other) {
                        module.items.insert(name, (Kind::Definition, public));
                    }
                }
            }
        }
        self.modules.insert(path.to_owned(), module);
    }

    fn block(&mut self, module: &str, block: &syn::ItemImpl) {
        let syn::Type::Path(of) = &*block.self_ty else { return };
        let path = of.path.segments.iter().map(|s| s.ident.to_string()).collect();
        // Items of a trait are as public as the trait.
        let counts = |visibility: &Visibility| block.trait_.is_some() || is_public(visibility);
        let members = block.items.iter().filter_map(|item| match item {
            ImplItem::Fn(f) if counts(&f.vis) => Some(f.sig.ident.to_string()),
            ImplItem::Const(c) if counts(&c.vis) => Some(c.ident.to_string()),
            _ => None,
        });
        self.blocks.push((module.to_owned(), path, members.collect()));
    }

    fn definition(&mut self, module: &str, item: &Item) -> Option<(String, bool)> {
        let (name, visibility, members) = match item {
            Item::Struct(s) => (&s.ident, &s.vis, fields(&s.fields, false)),
            Item::Enum(e) => {
                let variants = e.variants.iter().map(|v| v.ident.to_string()).collect();
                self.variants.insert(format!("{module}::{}", e.ident), variants);
                let members = e.variants.iter().map(|v| {
                    (v.ident.to_string(), fields(&v.fields, true).into_keys().collect::<BTreeSet<_>>())
                });
                (&e.ident, &e.vis, members.collect())
            }
            Item::Trait(t) => {
                let members: BTreeSet<String> = t
                    .items
                    .iter()
                    .filter_map(|item| match item {
                        TraitItem::Fn(f) => Some(f.sig.ident.to_string()),
                        TraitItem::Const(c) => Some(c.ident.to_string()),
                        TraitItem::Type(t) => Some(t.ident.to_string()),
                        _ => None,
                    })
                    .collect();
                let name = format!("{module}::{}", t.ident);
                self.methods.entry(name).or_default().extend(members.iter().cloned());
                (&t.ident, &t.vis, members.into_iter().map(|m| (m, BTreeSet::new())).collect())
            }
            Item::Fn(f) => (&f.sig.ident, &f.vis, Members::new()),
            Item::Const(c) => (&c.ident, &c.vis, Members::new()),
            Item::Static(s) => (&s.ident, &s.vis, Members::new()),
            Item::Type(t) => (&t.ident, &t.vis, Members::new()),
            _ => return None,
        };
        self.members.entry(format!("{module}::{name}")).or_default().extend(members);
        Some((name.to_string(), is_public(visibility)))
    }

    /// What a path means that is written in `module`. `public`: seen from outside, so only through public names.
    fn resolve(&self, module: &str, path: &[String], public: bool, depth: usize) -> Option<Meaning> {
        let mut at = Meaning::Module(module.to_owned());
        if depth > MAX_DEPTH {
            return None;
        }
        for (i, name) in path.iter().enumerate() {
            let Meaning::Module(here) = &at else { return None };
            let next = match name.as_str() {
                "self" if i == 0 => Meaning::Module(here.clone()),
                "crate" if i == 0 => Meaning::Module(here.split("::").next()?.to_owned()),
                "super" => Meaning::Module(here.rsplit_once("::")?.0.to_owned()),
                name => match self.lookup(here, name, public, depth) {
                    Some(found) => found,
                    None if i == 0 && self.modules.contains_key(name) => Meaning::Module(name.to_owned()),
                    // A crate that was not read.
                    None if i == 0 && !public => return Some(Meaning::Foreign),
                    None => return None,
                },
            };
            if let Meaning::Foreign = next {
                return Some(Meaning::Foreign);
            }
            at = next;
        }
        Some(at)
    }

    fn lookup(&self, module: &str, name: &str, public: bool, depth: usize) -> Option<Meaning> {
        let known = self.modules.get(module)?;
        if let Some((kind, is_public)) = known.items.get(name)
            && (*is_public || !public)
        {
            let path = format!("{module}::{name}");
            return Some(match kind {
                Kind::Module => Meaning::Module(path),
                Kind::Definition => Meaning::Definition(path),
            });
        }
        let used = known.uses.iter().find(|(n, _, is_public)| n == name && (*is_public || !public));
        if let Some((_, path, _)) = used {
            // The compiler has made sure that a public `use` may show what it shows. A crate of the same name as the
            // `use` itself is that crate.
            return if path.len() == 1 && self.modules.contains_key(&path[0]) {
                Some(Meaning::Module(path[0].clone()))
            } else if path.len() == 1 && path[0] == name {
                Some(Meaning::Foreign)
            } else {
                self.resolve(module, path, false, depth + 1)
            };
        }
        known.globs.iter().filter(|(_, is_public)| *is_public || !public).find_map(|(path, _)| {
            match self.resolve(module, path, false, depth + 1)? {
                Meaning::Module(of) => self.lookup(&of, name, true, depth + 1),
                _ => None,
            }
        })
    }

    /// Where a public path leads: the definition, and the segments that follow it.
    fn find<'a>(&self, path: &'a [String]) -> Option<(Meaning, &'a [String])> {
        let (first, rest) = path.split_first()?;
        self.modules.get(first)?;
        for length in 0..=rest.len() {
            let found = self.resolve(first, &rest[..length], true, 0)?;
            if !matches!(found, Meaning::Module(_)) {
                return Some((found, &rest[length..]));
            }
        }
        Some((Meaning::Module(first.clone()), &[]))
    }

    /// Whether a public path like `xp2p_proto::request::Live::channel` exists: a module, a definition, or a member of
    /// one, or a field of a variant.
    pub(crate) fn has(&self, path: &str) -> bool {
        let path: Vec<String> = path.split("::").map(str::to_owned).collect();
        match self.find(&path) {
            Some((Meaning::Module(_), _)) => true,
            Some((Meaning::Foreign, rest)) => rest.is_empty(),
            Some((Meaning::Definition(name), rest)) => {
                let members = self.members.get(&name);
                match rest {
                    [] => true,
                    [member] => members.is_some_and(|m| m.contains_key(member)),
                    [variant, field] => {
                        members.and_then(|m| m.get(variant)).is_some_and(|f| f.contains(field))
                    }
                    _ => false,
                }
            }
            None => false,
        }
    }

    fn definition_of(&self, path: &str) -> String {
        let segments: Vec<String> = path.split("::").map(str::to_owned).collect();
        match self.find(&segments) {
            Some((Meaning::Definition(name), [])) => name,
            other => panic!("{path} is no type: {other:?}"),
        }
    }

    /// The variants of an enum.
    pub(crate) fn variants(&self, path: &str) -> Vec<String> {
        self.variants.get(&self.definition_of(path)).cloned().unwrap_or_default()
    }

    /// The public methods of a type or trait.
    pub(crate) fn methods(&self, path: &str) -> BTreeSet<String> {
        self.methods.get(&self.definition_of(path)).cloned().unwrap_or_default()
    }
}

fn parse(file: &Path) -> syn::File {
    let text = std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
    syn::parse_file(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()))
}

fn fields(fields: &Fields, all: bool) -> Members {
    let public = fields.iter().filter(|f| all || is_public(&f.vis));
    let named = public.enumerate().map(|(i, f)| f.ident.as_ref().map_or(i.to_string(), ToString::to_string));
    named.map(|name| (name, BTreeSet::new())).collect()
}

fn uses(tree: &UseTree, prefix: &mut Vec<String>, public: bool, module: &mut Module) {
    match tree {
        UseTree::Path(path) => {
            prefix.push(path.ident.to_string());
            uses(&path.tree, prefix, public, module);
            prefix.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|t| uses(t, prefix, public, module)),
        UseTree::Glob(_) => module.globs.push((prefix.clone(), public)),
        UseTree::Name(name) if name.ident == "self" => {
            if let Some(last) = prefix.last() {
                module.uses.push((last.clone(), prefix.clone(), public));
            }
        }
        UseTree::Name(name) => {
            let path = prefix.iter().cloned().chain([name.ident.to_string()]).collect();
            module.uses.push((name.ident.to_string(), path, public));
        }
        UseTree::Rename(rename) => {
            let last = (rename.ident != "self").then(|| rename.ident.to_string());
            let path = prefix.iter().cloned().chain(last).collect();
            module.uses.push((rename.rename.to_string(), path, public));
        }
    }
}
