// LangChain for Node: its models of three makers and its agents.

import { ChatAnthropic } from "@langchain/anthropic";
import { ChatGoogleGenerativeAI } from "@langchain/google-genai";
import { ChatOpenAI, OpenAIEmbeddings } from "@langchain/openai";
import { createAgent, tool } from "langchain";
import { z } from "zod";

const { GEMINI_BASE_URL, ANTHROPIC_BASE_URL } = process.env;
const models = [
  ["chat", "gpt-4o", (model) => new ChatOpenAI({ model })],
  ["responses", "gpt-4o", (model) => new ChatOpenAI({ model, useResponsesApi: true })],
  ["messages", "claude-mock-large", (model) => new ChatAnthropic({ model, anthropicApiUrl: ANTHROPIC_BASE_URL })],
  ["gemini", "gemini-mock-large", (model) => new ChatGoogleGenerativeAI({ model, baseUrl: GEMINI_BASE_URL })],
];
const order = tool(async ({ id }) => `${id} shipped`, {
  name: "get_order",
  description: "Find an order.",
  schema: z.object({ id: z.string() }),
});
const asked = { messages: [{ role: "user", content: "please get_order" }] };
const found = {};

for (const [name, id, make] of models) {
  const model = make(id);
  found[name] = (await model.invoke("hello there")).text;
  found[`${name} stream`] = "";
  for await (const piece of await model.stream("hello there")) found[`${name} stream`] += piece.text;
  found[`${name} agent`] = (await createAgent({ model, tools: [order] }).invoke(asked)).messages.at(-1).text;
  found[`${name} object`] = (await model.withStructuredOutput(z.object({ done: z.boolean() })).invoke("done?")).done;
  try {
    await make("o3").invoke("hello there");
  } catch (error) {
    found[`${name} denied`] = error.message.includes("no policy allows ");
  }
}
found.embeddings = (await new OpenAIEmbeddings().embedQuery("hello")).length;
console.log(JSON.stringify(found));
