// Pricing, version 2: the contract of pricing.py in TypeScript on Deno, with nothing but what Deno brings along.
// deno run --allow-net=127.0.0.1 --allow-env pricing_v2.ts        (listens on 127.0.0.1:$PORT)
// With --unstable-net it shares a port that somebody else keeps reserved; without, Deno refuses to be asked for that.

const cents = (name: string, otherwise: number) => Number(Deno.env.get(name) ?? otherwise);
const TARIFF = Deno.env.get("TARIFF") ?? "standard";
const UNLOCK_CENTS = cents("UNLOCK_CENTS", 100);
const MINUTE_CENTS = cents("MINUTE_CENTS", 20);
const HOLD_CENTS = cents("HOLD_CENTS", 2000); // no ride costs more than what was held for it
const VERSION = "v2";

function problem(status: number, title: string, detail: string, extra = {}, headers = {}): Response {
  const type = title in PLAIN ? "about:blank" : `https://bikeshare.example/problems/${title.replaceAll(" ", "-")}`;
  return Response.json({ type, title, status, detail, ...extra }, {
    status,
    headers: { ...headers, "content-type": "application/problem+json" },
  });
}
const PLAIN = { "Not Found": 404, "Method Not Allowed": 405 };

function badMinutes(message: string): Response {
  return problem(422, "bad input", `minutes: ${message}`, { errors: [{ field: "minutes", message }] });
}

function quote(url: URL): Response {
  const text = url.searchParams.getAll("minutes").at(-1);
  if (text === undefined) return badMinutes("Field required");
  const minutes = Number(text);
  if (!/^[0-9]{1,4}$/.test(text) || minutes > 1440) return badMinutes("is not a whole number from 0 to 1440");
  const price = Math.min(UNLOCK_CENTS + MINUTE_CENTS * minutes, HOLD_CENTS);
  return Response.json({ minutes, cents: price, tariff: TARIFF, version: VERSION });
}

function tariff(): Response {
  return Response.json({
    tariff: TARIFF,
    unlock_cents: UNLOCK_CENTS,
    minute_cents: MINUTE_CENTS,
    cap_cents: HOLD_CENTS,
  });
}

const ROUTES: Record<string, (url: URL) => Response> = {
  "/quote": quote,
  "/tariff": tariff,
  "/health/live": () => Response.json({ status: "live" }),
  "/health/ready": () => Response.json({ status: "ready" }),
};

function answer(request: Request): Response {
  const url = new URL(request.url);
  if (!Object.hasOwn(ROUTES, url.pathname)) return problem(404, "Not Found", `${request.method}: Not Found`);
  if (request.method !== "GET") {
    return problem(405, "Method Not Allowed", `${request.method}: Method Not Allowed`, {}, { allow: "GET" });
  }
  return ROUTES[url.pathname](url);
}

const server = Deno.serve({
  hostname: "127.0.0.1",
  port: Number(Deno.env.get("PORT") ?? 8000),
  reusePort: "listenDatagram" in Deno, // there only with --unstable-net
  onListen: ({ hostname, port }) => console.log(`pricing ${VERSION} listens on http://${hostname}:${port}`),
}, answer);

Deno.addSignalListener("SIGTERM", () => server.shutdown()); // answers what has begun, then ends
