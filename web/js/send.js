// Asks the house for something, in its API. Who is logged out is led to the login, and back to
// where they were.

export function toLogin() {
  location.assign('/login?next=' + encodeURIComponent(location.pathname + location.search));
}

// inLanguage is the address of what has sentences, in the language of the page.
export function inLanguage(path) {
  return path + (path.includes('?') ? '&' : '?') + 'language=' + document.documentElement.lang;
}

// send has an answer, { ok, status, body }: null is the body of one that says no more.
export async function send(path, body, signal) {
  const answer = await fetch(inLanguage(path), {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  });
  if (answer.status === 401) toLogin();
  return { ok: answer.ok, status: answer.status, body: answer.status === 204 ? null : await answer.json() };
}

// tell is send where it is enough that it was done; the error says why it was not.
export async function tell(path, body) {
  const answer = await send(path, body);
  if (!answer.ok) throw new Error(answer.body.error);
}
