# Puts corral into the Start menu of this person, or takes it out again.
#
#   powershell -ExecutionPolicy Bypass -File shortcut.ps1 [-Program C:\path\corral.exe] [-Remove]
#
# It opens in Windows Terminal where that is installed, else in the console of Windows. Needs no
# administrator; works with PowerShell 5.1 and later.
param(
    [string]$Program = '',
    [string]$Menu = [Environment]::GetFolderPath('Programs'),
    [switch]$Remove
)

Set-StrictMode -Version 2.0
$ErrorActionPreference = 'Stop'

$link = Join-Path $Menu 'corral.lnk'
if ($Remove) {
    if (Test-Path -LiteralPath $link) {
        Remove-Item -LiteralPath $link
    }
    exit 0
}

if ($Program -eq '') {
    $beside = Join-Path $PSScriptRoot 'corral.exe'
    if (Test-Path -LiteralPath $beside) {
        $Program = $beside
    } else {
        $found = Get-Command 'corral.exe' -CommandType Application -ErrorAction SilentlyContinue |
            Select-Object -First 1
        if ($null -eq $found) {
            [Console]::Error.WriteLine('corral.exe was not found: give its place with -Program')
            exit 2
        }
        $Program = $found.Path
    }
}
if (-not (Test-Path -LiteralPath $Program -PathType Leaf)) {
    [Console]::Error.WriteLine("$Program is not there")
    exit 2
}
$Program = (Resolve-Path -LiteralPath $Program).ProviderPath

# What corral is told when a window was opened for it: it stays until an error in it was read.
$own = '"{0}" --in-terminal' -f $Program
$terminal = Get-Command 'wt.exe' -CommandType Application -ErrorAction SilentlyContinue |
    Select-Object -First 1
$shell = New-Object -ComObject WScript.Shell
$shortcut = $shell.CreateShortcut($link)
if ($null -ne $terminal) {
    $shortcut.TargetPath = $terminal.Path
    # A semicolon would begin another tab.
    $shortcut.Arguments = 'new-tab --title corral ' + $own.Replace(';', '\;')
} else {
    $shortcut.TargetPath = Join-Path $env:SystemRoot 'System32\conhost.exe'
    $shortcut.Arguments = $own
}
$shortcut.WorkingDirectory = [Environment]::GetFolderPath('UserProfile')
$shortcut.IconLocation = "$Program,0"
$shortcut.Description = 'Chat with Llama 2 models on this machine, offline'
$shortcut.Save()
Write-Output $link
