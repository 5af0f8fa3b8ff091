// A caller of bolts in another language: it knows frames.py only by its docstring.
// deno run --allow-net=127.0.0.1 bolts_client.ts HOST:PORT '{"method": "battery", "arguments": {"lock_id": "l-01"}}' ...
// All calls go out at once, on one connection; the answers are printed in the order of the calls, one JSON on a line.

const [target, ...calls] = Deno.args;
const [hostname, port] = target.split(":");
const connection = await Deno.connect({ hostname, port: Number(port) });

async function send(message: unknown): Promise<void> {
  const content = new TextEncoder().encode(JSON.stringify(message));
  const frame = new Uint8Array(4 + content.length);
  new DataView(frame.buffer).setUint32(0, content.length); // big-endian, unless told otherwise
  frame.set(content, 4);
  for (let sent = 0; sent < frame.length;) {
    sent += await connection.write(frame.subarray(sent));
  }
}

async function readExactly(length: number): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  for (let filled = 0; filled < length;) {
    const count = await connection.read(bytes.subarray(filled));
    if (count === null) throw new Error("the connection has ended");
    filled += count;
  }
  return bytes;
}

async function receive(): Promise<{ id: number }> {
  const length = new DataView((await readExactly(4)).buffer).getUint32(0);
  return JSON.parse(new TextDecoder().decode(await readExactly(length)));
}

for (const [id, call] of calls.entries()) {
  await send({ id, ...JSON.parse(call) });
}
const answers = new Map<number, unknown>();
while (answers.size < calls.length) {
  const answer = await receive();
  answers.set(answer.id, answer);
}
for (const id of calls.keys()) {
  console.log(JSON.stringify(answers.get(id)));
}
connection.close();
