// Lists: a row for each thing, made once from its template and then only filled. How a
// row looks is written in pages/ alone, and all text goes through textContent. Plain
// ES2017, as all modules here, for the old tablet on the wall.

export const $ = (id) => document.getElementById(id);

export function put(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// makeList keeps a row for each of some items; template may depend on the item. Rows that the
// server drew and gave a key are its own from the start, others stay until there is something
// newer.
export function makeList(ul, template, key, fill) {
  const rows = new Map();
  const items = new Map();
  Array.from(ul.children).forEach((li) => 'key' in li.dataset && rows.set(li.dataset.key, li));
  let drawn = !rows.size;
  function row(item) {
    const k = key(item);
    let li = rows.get(k);
    if (!li) {
      if (drawn) ul.textContent = '';
      drawn = false;
      li = (template.content ? template : template(item)).content.firstElementChild.cloneNode(true);
      li.dataset.key = k;
      rows.set(k, li);
    }
    fill(li, item, items.get(k));
    items.set(k, item);
    return li;
  }
  function drop(k) {
    rows.get(k).dataset.gone = '';
    rows.get(k).remove();
    rows.delete(k);
    items.delete(k);
  }
  return {
    rows, items,
    // all makes the list exactly these, in this order.
    all(list) {
      if (drawn) ul.textContent = '';
      drawn = false;
      const keep = new Set(list.map(key));
      Array.from(rows.keys()).forEach((k) => keep.has(k) || drop(k));
      list.forEach((item, i) => {
        const li = row(item);
        if (ul.children[i] !== li) ul.insertBefore(li, ul.children[i] || null);
      });
    },
    // one fills the row of item, or puts a new one before the first that `before` accepts, else at the end.
    one(item, before = () => false) {
      const li = row(item);
      if (!li.parentNode) ul.insertBefore(li, Array.from(ul.children).find(before) || null);
    },
    oldest(most) {
      while (ul.children.length > most) {
        const last = ul.lastElementChild;
        Array.from(rows.keys()).forEach((k) => rows.get(k) === last && drop(k));
      }
    },
  };
}

// lines makes a list these texts, each with a link where it is { text, path }.
export function lines(ul, texts) {
  const key = JSON.stringify(texts);
  if (ul.dataset.lines === key) return;
  ul.dataset.lines = key;
  ul.textContent = '';
  texts.forEach((one) => {
    const li = document.createElement('li');
    const box = one.path ? li.appendChild(document.createElement('a')) : li;
    if (one.path) box.href = one.path;
    box.textContent = one.path ? one.text : one;
    ul.appendChild(li);
  });
}
