// The package `openai`: chat completions, responses, embeddings.

import OpenAI from "openai";
import { counting, failure, failures } from "./failing.mjs";

const client = new OpenAI({ fetch: counting, maxRetries: 1 });
const messages = [{ role: "user", content: "hello there" }];
const asked = [{ role: "user", content: "please get_order" }];
const parameters = { type: "object", properties: { id: { type: "string" } }, required: ["id"] };
const tool = { type: "function", function: { name: "get_order", parameters } };
const flatTool = { type: "function", name: "get_order", parameters };
const model = "gpt-4o";
const found = {};

const answer = await client.chat.completions.create({ model, messages });
found["chat"] = answer.choices[0].message.content;
found["chat usage"] = answer.usage.completion_tokens;
found["chat stream"] = "";
for await (const chunk of await client.chat.completions.create({ model, messages, stream: true }))
  found["chat stream"] += chunk.choices[0].delta.content ?? "";
const { message } = (await client.chat.completions.create({ model, messages: asked, tools: [tool] })).choices[0];
const result = { role: "tool", tool_call_id: message.tool_calls[0].id, content: "shipped" };
const final = await client.chat.completions.create({ model, messages: [...asked, message, result], tools: [tool] });
found["chat tools"] = final.choices[0].message.content;
const run = client.chat.completions.runTools({
  model,
  messages: asked,
  tools: [{ type: "function", function: { name: "get_order", parameters, parse: JSON.parse, function: () => "shipped" } }],
});
found["chat runner"] = await run.finalContent();

const response = await client.responses.create({ model, input: "hello there" });
found["responses"] = response.output_text;
found["responses usage"] = response.usage.output_tokens;
found["responses stream"] = "";
for await (const event of await client.responses.create({ model, input: "hello there", stream: true }))
  if (event.type === "response.output_text.delta") found["responses stream"] += event.delta;
const called = await client.responses.create({ model, input: asked, tools: [flatTool] });
const output = { type: "function_call_output", call_id: called.output[0].call_id, output: "shipped" };
const told = { model, input: [output], tools: [flatTool], previous_response_id: called.id };
found["responses tools"] = (await client.responses.create(told)).output_text;

const embedded = await client.embeddings.create({ model: "text-embedding-3-small", input: "hello" });
found["embeddings"] = embedded.data[0].embedding.length;

found["chat failures"] = await failures((model) => client.chat.completions.create({ model, messages }));
found["responses failures"] = await failures((model) => client.responses.create({ model, input: "hello", stream: true }));
const stranger = new OpenAI({ apiKey: `${client.apiKey.slice(0, -4)}0000` });
found["wrong key"] = await failure(() => stranger.models.list());
found["no route"] = await failure(() => client.batches.list());
console.log(JSON.stringify(found));
