// The package `@anthropic-ai/sdk`.

import Anthropic from "@anthropic-ai/sdk";
import { counting, failure, failures } from "./failing.mjs";

const client = new Anthropic({ fetch: counting, maxRetries: 1 });
const hello = { model: "claude-mock-large", max_tokens: 100, messages: [{ role: "user", content: "hello there" }] };
const asked = [{ role: "user", content: "please get_order" }];
const tools = [{ name: "get_order", input_schema: { type: "object", properties: { id: { type: "string" } }, required: ["id"] } }];
const found = {};

const answer = await client.messages.create(hello);
found["messages"] = answer.content[0].text;
found["messages usage"] = answer.usage.output_tokens;
found["messages stream"] = "";
for await (const event of await client.messages.create({ ...hello, stream: true }))
  if (event.type === "content_block_delta") found["messages stream"] += event.delta.text;
found["messages helper"] = await client.messages.stream(hello).finalText();
const { content } = await client.messages.create({ ...hello, messages: asked, tools });
const result = { type: "tool_result", tool_use_id: content[0].id, content: "shipped" };
const told = [...asked, { role: "assistant", content }, { role: "user", content: [result] }];
found["messages tools"] = (await client.messages.create({ ...hello, messages: told, tools })).content[0].text;
found["counted"] = (await client.messages.countTokens({ model: hello.model, messages: hello.messages })).input_tokens;

found["messages failures"] = await failures((model) => client.messages.create({ ...hello, model }));
const stranger = new Anthropic({ apiKey: `${client.apiKey.slice(0, -4)}0000` });
found["wrong key"] = await failure(() => stranger.models.list());
found["no route"] = await failure(() => client.messages.batches.list());
console.log(JSON.stringify(found));
