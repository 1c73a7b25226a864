// `@openai/agents`, `@google/genai`, `groq-sdk`, and the AI SDK's providers for Groq and for compatible servers.

import { createGroq } from "@ai-sdk/groq";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { GoogleGenAI } from "@google/genai";
import { Agent, run, setOpenAIAPI, tool } from "@openai/agents";
import { generateText } from "ai";
import Groq from "groq-sdk";
import { z } from "zod";

const { GEMINI_API_KEY, GEMINI_BASE_URL, GROQ_BASE_URL, OPENAI_API_KEY, OPENAI_BASE_URL } = process.env;
const found = {};

const order = tool({
  name: "get_order",
  description: "Find an order.",
  parameters: z.object({ id: z.string() }),
  execute: async ({ id }) => `${id} shipped`,
});
for (const api of ["responses", "chat_completions"]) {
  setOpenAIAPI(api);
  found[api] = (await run(new Agent({ name: "a", model: "gpt-4o" }), "hello there")).finalOutput;
  const streamed = await run(new Agent({ name: "a", model: "gpt-4o" }), "hello there", { stream: true });
  found[`${api} stream`] = "";
  for await (const piece of streamed.toTextStream()) found[`${api} stream`] += piece;
  const working = new Agent({ name: "b", model: "gpt-4o", tools: [order] });
  found[`${api} agent`] = (await run(working, "please get_order")).finalOutput;
  const refused = run(new Agent({ name: "c", model: "o3" }), "hello there");
  found[`${api} denied`] = await refused.catch((error) => error.status);
}

const gemini = new GoogleGenAI({ apiKey: GEMINI_API_KEY, httpOptions: { baseUrl: GEMINI_BASE_URL } });
const hello = { model: "gemini-mock-large", contents: "hello there" };
found.gemini = (await gemini.models.generateContent(hello)).text;
found["gemini stream"] = "";
for await (const piece of await gemini.models.generateContentStream(hello)) found["gemini stream"] += piece.text ?? "";
found["gemini denied"] = await gemini.models.generateContent({ ...hello, model: "o3" }).catch((error) => error.status);

const groq = new Groq({ apiKey: OPENAI_API_KEY }); // the base URL is in GROQ_BASE_URL
const messages = [{ role: "user", content: "hello there" }];
found.groq = (await groq.chat.completions.create({ model: "gpt-4o", messages })).choices[0].message.content;
found["groq denied"] = await groq.chat.completions.create({ model: "o3", messages }).catch((error) => error.status);

globalThis.AI_SDK_LOG_WARNINGS = false; // it does not know the mock provider's models
for (const [name, provider] of [
  ["ai groq", createGroq({ baseURL: `${GROQ_BASE_URL}/openai/v1`, apiKey: OPENAI_API_KEY })],
  ["ai compatible", createOpenAICompatible({ name: "x", baseURL: OPENAI_BASE_URL, apiKey: OPENAI_API_KEY })],
]) {
  found[name] = (await generateText({ model: provider("gpt-4o"), prompt: "hello there" })).text;
}
console.log(JSON.stringify(found));
