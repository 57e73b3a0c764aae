// Asks the house for something that has an answer: { ok, status, body }. Who is logged out is
// led to the login, and back to where they were.

export async function send(path, body, signal) {
  const answer = await fetch(path, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
    signal,
  });
  if (answer.status === 401) location.assign('/login?next=' + encodeURIComponent(location.pathname + location.search));
  return { ok: answer.ok, status: answer.status, body: await answer.json() };
}
