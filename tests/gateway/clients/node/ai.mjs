// The AI SDK, `ai`, with its providers for three APIs. That of OpenAI speaks responses unless it is told otherwise.

import { createAnthropic } from "@ai-sdk/anthropic";
import { createGoogle } from "@ai-sdk/google";
import { openai } from "@ai-sdk/openai";
import { embed, generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";
import { failure } from "./failing.mjs";

globalThis.AI_SDK_LOG_WARNINGS = false; // it does not know the mock provider's models
const { ANTHROPIC_BASE_URL, ANTHROPIC_API_KEY, GEMINI_BASE_URL, GEMINI_API_KEY } = process.env;
const anthropic = createAnthropic({ baseURL: `${ANTHROPIC_BASE_URL}/v1`, apiKey: ANTHROPIC_API_KEY });
const google = createGoogle({ baseURL: `${GEMINI_BASE_URL}/v1beta`, apiKey: GEMINI_API_KEY });
const providers = [
  ["responses", openai, "gpt-4o"],
  ["chat", openai.chat, "gpt-4o"],
  ["messages", anthropic, "claude-mock-large"],
  ["gemini", google, "gemini-mock-large"],
];
const order = tool({
  description: "Find an order.",
  inputSchema: z.object({ id: z.string() }),
  execute: async ({ id }) => `${id} shipped`,
});
const found = {};

for (const [name, provider, id] of providers) {
  const model = provider(id);
  const answer = await generateText({ model, prompt: "hello there" });
  found[name] = answer.text;
  found[`${name} usage`] = answer.usage.outputTokens;
  found[`${name} stream`] = "";
  for await (const piece of streamText({ model, prompt: "hello there" }).textStream) found[`${name} stream`] += piece;
  const working = { model, prompt: "please get_order", tools: { get_order: order }, stopWhen: stepCountIs(3) };
  found[`${name} agent`] = (await generateText(working)).text;
  found[`${name} streaming agent`] = await streamText(working).text;
  const shape = Output.object({ schema: z.object({ done: z.boolean() }) });
  found[`${name} object`] = (await generateText({ model, prompt: "done?", output: shape })).output.done;
  found[`${name} denied`] = await failure(() => generateText({ model: provider("o3"), prompt: "hello" }));
  for (const status of [404, 429, 503]) {
    const failing = { model: provider(`mock-status-${status}`), prompt: "hello", maxRetries: 0 };
    found[`${name} ${status}`] = await failure(() => generateText(failing));
  }
}
const embedded = await embed({ model: openai.embedding("text-embedding-3-small"), value: "hello" });
found["embeddings"] = embedded.embedding.length;
console.log(JSON.stringify(found));
