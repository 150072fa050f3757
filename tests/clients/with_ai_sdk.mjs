// The AI SDK through its default provider, which speaks Responses: `CLIENT_ROOT=DIR node with_ai_sdk.mjs BASE_URL KEY`
// prints one JSON object of what it saw.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const require = createRequire(`${process.env.CLIENT_ROOT}/`);
const { createOpenAI } = require("@ai-sdk/openai");
const { generateText, jsonSchema, Output, stepCountIs, streamText, tool } = require("ai");
const { version } = JSON.parse(readFileSync(`${process.env.CLIENT_ROOT}/node_modules/ai/package.json`));

const [baseURL, apiKey] = process.argv.slice(2);
const openai = createOpenAI({ baseURL, apiKey });
const common = { model: openai("support"), maxRetries: 0, onError: () => {} };
const object = (name) => ({
  type: "object",
  properties: { [name]: { type: "string" } },
  required: [name],
  additionalProperties: false,
});

const loop = async (options) => {
  const seen = [];
  const weather = tool({
    description: "Tell the weather.",
    inputSchema: jsonSchema(object("city")),
    execute: async (input) => {
      seen.push(input);
      return "sun";
    },
  });
  const result = streamText({ ...common, prompt: "weather", tools: { weather }, stopWhen: stepCountIs(3), ...options });
  let text = "";
  for await (const part of result.textStream) text += part;
  return { tool: seen[0], text };
};

const chat = await generateText({ ...common, prompt: "hello" });
let streamed = "";
for await (const text of streamText({ ...common, prompt: "hello" }).textStream) streamed += text;
const stateless = { providerOptions: { openai: { store: false } } };
const { tool: called, text: afterTool } = await loop(stateless);
const talk = async (options) => {
  const messages = [{ role: "user", content: "hello" }];
  for (let turn = 0; turn < 2; turn++) {
    const { response } = await generateText({ ...common, messages, ...options });
    messages.push(...response.messages, { role: "user", content: "hello" });
  }
  return messages.length;
};
const turns = await talk(stateless);
let stored = null;
try {
  await talk({});
} catch (problem) {
  stored = JSON.parse(problem.responseBody).error.message;
}
const structured = await generateText({
  ...common,
  prompt: "structured",
  output: Output.object({ schema: jsonSchema(object("label")) }),
});
let error = null;
try {
  await generateText({ ...common, model: openai("nobody"), prompt: "hello" });
} catch (problem) {
  error = JSON.parse(problem.responseBody).error.code;
}
console.log(
  JSON.stringify({
    version,
    chat: chat.text,
    usage: chat.usage.totalTokens > 0,
    stream: streamed,
    tool: called,
    after_tool: afterTool,
    turns,
    stored,
    structured: structured.output.label,
    error,
  }),
);
