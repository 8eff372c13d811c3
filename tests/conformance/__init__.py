"""The same plugin files, ini files and requests on pluginserver and on plugincore, side by side."""
