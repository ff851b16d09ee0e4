import * as current from "@google/genai";
import * as old from "genai-1.30";

import { genai } from "../adapters/genai.js";
import { scenarios } from "../scenarios.js";

scenarios("@google/genai 3", genai(current));
scenarios("@google/genai 1.30", genai(old));
