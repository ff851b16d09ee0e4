import { OpenAi } from "../adapters/openai.js";
import { scenarios } from "../scenarios.js";

scenarios("openai", OpenAi);
