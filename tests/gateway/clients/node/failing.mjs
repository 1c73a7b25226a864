// How a client fails: the class of its error, and how many requests it made before it gave up.

const MODELS = [
  "mock-status-400", "mock-status-404", "mock-status-422", "mock-status-429", "mock-status-503",
  "mock-status-401", // the provider does not know the gateway: its operator's business, and no use to try again
  "o3", // which the policy denies
];

let requests = 0;

/** The platform's `fetch`; it only counts. */
export function counting(...given) {
  requests += 1;
  return fetch(...given);
}

/** What `ask` fails with, by model, as "class status requests". */
export async function failures(ask) {
  const found = {};
  for (const model of MODELS) {
    requests = 0;
    found[model] = `${await failure(() => ask(model))} ${requests}`;
  }
  return found;
}

export async function failure(work) {
  try {
    await work();
  } catch (error) {
    return `${error.constructor.name} ${error.status ?? error.statusCode}`;
  }
  throw new Error("the call did not fail");
}
