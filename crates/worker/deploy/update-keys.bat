@echo off
rem Else whoever ran this would be left in another folder.
setlocal
rem Puts gemini-keys.json into KV: see update-keys.mjs.
cd /d "%~dp0"
where node >nul 2>nul
if errorlevel 1 (
    echo update-keys: Node is missing: install Node 20 or newer from https://nodejs.org 1>&2
    exit /b 1
)
node update-keys.mjs %*
