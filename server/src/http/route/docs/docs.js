// Renders the OpenAPI document as a reference. All text goes in as text, never as markup.
"use strict";

const METHODS = ["get", "post", "put", "delete", "patch"];
const DEPTH_MAX = 6;

/** An element with attributes and children; a string child is text. */
function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

/** What a `$ref` leads to. */
function resolve(doc, schema) {
  const path = schema?.$ref?.replace(/^#\//, "").split("/");
  return path ? path.reduce((at, key) => at?.[key.replaceAll("~1", "/").replaceAll("~0", "~")], doc) : schema;
}

/** The type of a schema in a word. */
function typeOf(doc, schema) {
  const found = resolve(doc, schema) ?? {};
  const one = found.oneOf ?? found.anyOf;
  if (one) return one.map((part) => typeOf(doc, part)).join(" or ");
  if (found.enum) return found.enum.map((value) => JSON.stringify(value)).join(" or ");
  const type = [found.type ?? "any"].flat().join(" or ");
  if (found.items) return `list of ${typeOf(doc, found.items)}`;
  return found.format ? `${type} (${found.format})` : type;
}

/** The fields of a schema as rows of a table, those inside of others with their path. */
function rows(doc, schema, prefix = "", depth = 0) {
  let found = resolve(doc, schema) ?? {};
  if (found.items) found = resolve(doc, found.items) ?? {};
  const parts = found.allOf ?? found.oneOf ?? found.anyOf ?? [];
  const out = depth < DEPTH_MAX ? parts.flatMap((part) => rows(doc, part, prefix, depth + 1)) : [];
  for (const [name, field] of Object.entries(found.properties ?? {})) {
    const path = prefix + name;
    const required = (found.required ?? []).includes(name);
    const about = field.description ?? resolve(doc, field)?.description ?? "";
    out.push(
      element("tr", {}, element("td", {}, element("code", {}, path)), element("td", {}, typeOf(doc, field)),
        element("td", {}, required ? "required" : ""), element("td", {}, about)),
    );
    if (depth < DEPTH_MAX) out.push(...rows(doc, field, `${path}.`, depth + 1));
  }
  return out;
}

function table(headings, body) {
  if (body.length === 0) return null;
  const head = element("tr", {}, ...headings.map((heading) => element("th", {}, heading)));
  return element("table", {}, element("thead", {}, head), element("tbody", {}, ...body));
}

function fields(doc, content) {
  const [media, body] = Object.entries(content ?? {})[0] ?? [];
  if (!media) return [];
  return [element("p", {}, element("code", {}, media)), table(["Field", "Type", "", "Meaning"], rows(doc, body.schema))];
}

function operation(doc, path, method, said) {
  const parameters = (said.parameters ?? []).map((given) => {
    const parameter = resolve(doc, given);
    return element("tr", {}, element("td", {}, element("code", {}, parameter.name)),
      element("td", {}, parameter.in), element("td", {}, typeOf(doc, parameter.schema)),
      element("td", {}, parameter.description ?? ""));
  });
  const answers = Object.entries(said.responses ?? {}).map(([status, given]) => {
    const answer = resolve(doc, given);
    return element("details", {}, element("summary", {}, `${status} ${answer.description ?? ""}`), ...fields(doc, answer.content));
  });
  const summary = element("summary", { class: "route" },
    element("span", { class: "method" }, method.toUpperCase()), path,
    element("span", { class: "summary" }, said.summary ?? ""));
  const made = element("details", { "data-search": `${method} ${path} ${said.summary ?? ""}`.toLowerCase() }, summary,
    said.description ? element("p", {}, said.description) : null);
  if (parameters.length > 0) made.append(element("h4", {}, "Parameters"), table(["Name", "In", "Type", "Meaning"], parameters));
  if (said.requestBody) made.append(element("h4", {}, "Body"), ...fields(doc, said.requestBody.content).filter(Boolean));
  made.append(element("h4", {}, "Answers"), ...answers);
  return made;
}

function render(doc) {
  const sections = new Map();
  for (const [path, item] of Object.entries(doc.paths)) {
    for (const method of METHODS.filter((name) => item[name])) {
      const tag = item[method].tags?.[0] ?? "other";
      if (!sections.has(tag)) sections.set(tag, element("section", {}, element("h2", {}, tag)));
      sections.get(tag).append(operation(doc, path, method, item[method]));
    }
  }
  document.getElementById("reference").replaceChildren(...sections.values());
}

function search(event) {
  const wanted = event.target.value.trim().toLowerCase();
  for (const found of document.querySelectorAll("[data-search]")) {
    found.hidden = !found.dataset.search.includes(wanted);
  }
}

document.getElementById("search").addEventListener("input", search);
fetch("/api/insights/openapi.json")
  .then((answer) => answer.json())
  .then(render)
  .catch((error) => {
    document.getElementById("reference").textContent = `The document could not be loaded: ${error.message}`;
  });
