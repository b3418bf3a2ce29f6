# Installs corral for one person on Windows, or takes it away again. In an unpacked offline bundle it
# needs no network; alone it installs a wheel that is given. For PowerShell 5.1 and later:
#
#   powershell -ExecutionPolicy Bypass -File install.ps1 [-Yes] [-DryRun] [-Uninstall] [-Prefix DIR]
#
# Of a bundle everything lies below Prefix (uv and pipx have their own places, and Prefix the
# receipt alone): env-VERSION.N is the program and is never changed afterwards,
# bin\corral.cmd and the Start menu's corral start it, receipt says what there is, and nothing else
# is ever removed.
[CmdletBinding()]
param(
    [string]$Prefix = '',
    [switch]$Yes,
    [switch]$DryRun,
    [switch]$Uninstall,
    [switch]$Force,           # although corral runs, or something else lies in the way
    [string]$Python = '',
    [switch]$Pip,             # in a bundle: with Python's own tools instead of uv
    [string]$Wheel = $env:CORRAL_WHEEL,
    [string]$Sha256 = '',
    [string]$Accelerator = '',
    [string]$Index = '',
    [switch]$Compile          # build the engine here if there is no wheel of it
)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

# Where llama-cpp-python's authors publish built wheels: an index for each accelerator.
$EngineIndex = 'https://abetlen.github.io/llama-cpp-python/whl'
if ($env:CORRAL_ENGINE_INDEX) { $EngineIndex = $env:CORRAL_ENGINE_INDEX }
$CudaIndexes = 132, 130, 125, 124, 123, 122, 121, 118
$Engine = 'llama-cpp-python'

function Stop-Here([int]$Code, [string]$Sentence, [string]$Hint = '') {
    [Console]::Error.WriteLine("corral: $Sentence")
    if ($Hint) { [Console]::Error.WriteLine("  hint: $Hint") }
    exit $Code
}

function Invoke-Step([string]$What, [string]$Program, [string[]]$Arguments) {
    & $Program @Arguments
    if ($LASTEXITCODE -ne 0) { Stop-Here 1 "$What failed, as the lines above say" 'Nothing was changed.' }
}

function Confirm-Plan {
    if ($DryRun) { exit 0 }
    if ($Yes) { return }
    # Read-Host takes the end of a file for an empty answer, which is yes.
    if ([Console]::IsInputRedirected) {
        Stop-Here 2 'There is no terminal to ask on' 'Look with -DryRun, then say -Yes.'
    }
    if ((Read-Host 'Go on? [Y/n]') -like 'n*') { Write-Host 'Nothing was changed.'; exit 130 }
}

function Get-Digest([string]$Path) {
    (Get-FileHash -LiteralPath $Path -Algorithm SHA256).Hash.ToLowerInvariant()
}

function Write-Lines([string]$Path, [string[]]$Lines) {
    # Windows PowerShell would write a mark before them.
    [IO.File]::WriteAllLines($Path, $Lines, (New-Object Text.UTF8Encoding $false))
}

function Read-Receipt([string]$Kind) {
    if (-not (Test-Path -LiteralPath $Receipt)) { return }
    [IO.File]::ReadAllLines($Receipt) | Where-Object { $_.StartsWith("$Kind ") } |
        ForEach-Object { $_.Substring($Kind.Length + 1) }
}

function Stop-IfRunning {
    if ($Force) { return }
    $Places = @("$Prefix\env-") + @(Read-Receipt 'env')
    $Ids = @(Get-Process | Where-Object {
        $Path = $_.Path
        $Path -and @($Places | Where-Object {
            $Path.StartsWith($_, [StringComparison]::OrdinalIgnoreCase) }).Count
    } | ForEach-Object { $_.Id })
    if ($Ids.Count) { Stop-Here 7 "corral is running: process $Ids" 'Quit it first, or say -Force.' }
}

function Test-Bundle {
    # Every file that is listed is there and as it was, and there is no other.
    $Listed = @{ 'SHA256SUMS' = $true }
    foreach ($Line in [IO.File]::ReadAllLines("$Here\SHA256SUMS")) {
        if ($Line -notmatch '^[0-9a-f]{64}  .') { Stop-Here 7 "SHA256SUMS has a line that is none: $Line" }
        $Name = $Line.Substring(66)
        if ("/$Name/" -match '/\.\./|^//|[\\:]') { Stop-Here 7 "SHA256SUMS lists $Name, outside of the bundle" }
        $Listed[$Name] = $true
        if (-not (Test-Path -LiteralPath "$Here\$Name" -PathType Leaf)) {
            Stop-Here 7 "This bundle is not whole: $Name is missing" 'Unpack the archive again.'
        }
        if ((Get-Digest "$Here\$Name") -ne $Line.Substring(0, 64)) {
            Stop-Here 7 "This bundle is damaged: $Name" 'Unpack or fetch the archive again.'
        }
    }
    foreach ($File in Get-ChildItem -LiteralPath $Here -Recurse -Force -File) {
        $Name = $File.FullName.Substring($Here.Length + 1).Replace('\', '/')
        if (-not $Listed.ContainsKey($Name)) {
            Stop-Here 7 "There is a file that does not belong to this bundle: $Name" 'Unpack it again.'
        }
    }
}

function Find-Python([string[]]$Minors, [string]$Uv) {
    # Compiled wheels belong to one minor version: those that the bundle has wheels for.
    # Windows PowerShell reads what Python writes as of another code page: \u00e9 is safe from that.
    $Ask = 'import sys, json; print(''%d.%d'' % sys.version_info[:2], json.dumps(dict(path=sys.executable)))'
    foreach ($Minor in $Minors) {
        $Ways = @(, @('py', "-$Minor")) + @(, @('python')) + @(, @('python3'))
        if ($Python) { $Ways = @(, @($Python)) }
        elseif ($Uv) {
            $Found = & $Uv python find -n --no-project --system $Minor
            if ($LASTEXITCODE -eq 0) { $Ways += , @("$Found") }
        }
        foreach ($Way in $Ways) {
            if (-not (Get-Command $Way[0] -ErrorAction SilentlyContinue)) { continue }
            $Arguments = @($Way | Select-Object -Skip 1) + @('-I', '-c', $Ask)
            $Told = "$(& $Way[0] @Arguments)"
            if ($LASTEXITCODE -eq 0 -and $Told.StartsWith("$Minor ")) {
                return (ConvertFrom-Json $Told.Substring($Minor.Length + 1)).path
            }
        }
    }
    Stop-Here 1 "This bundle is for Python $Minors, which is not here" 'Install it, or name it with -Python FILE.'
}

function Assert-OwnWay([string]$Method) {
    $Before = "$(Read-Receipt 'method')"
    if ($Before -and $Before -ne $Method) {
        Stop-Here 7 "corral is installed here already, by another way: $Before" 'Remove that first: -Uninstall'
    }
}

function Install-Bundle {
    Test-Bundle
    # What a person configured for other projects is no part of this.
    Get-ChildItem Env: | Where-Object { $_.Name -match '^(UV|PIP)_|^PYTHON(PATH|HOME)$' } |
        ForEach-Object { Remove-Item -LiteralPath "Env:$($_.Name)" }
    $env:UV_NO_CONFIG = '1'; $env:UV_OFFLINE = '1'; $env:UV_PYTHON_DOWNLOADS = 'never'
    $env:PIP_CONFIG_FILE = 'nul'
    $Manifest = [IO.File]::ReadAllText("$Here\MANIFEST.json") | ConvertFrom-Json
    $Uv = ''
    if (-not $Pip -and (Test-Path -LiteralPath "$Here\bin\uv.exe")) { $Uv = "$Here\bin\uv.exe" }
    $Interpreter = Find-Python ($Manifest.pythons -split ' ') $Uv
    Assert-OwnWay 'bundle'
    Write-Host "corral $($Manifest.version), from this bundle, with $Interpreter, goes to $Prefix."
    Confirm-Plan
    Stop-IfRunning
    $Fresh = "$Prefix\env-$($Manifest.version).$PID"
    $Done = $false
    try {
        # Whole in a new folder: whatever ends this early, the corral of before goes on working.
        New-Item -ItemType Directory -Force -Path "$Prefix\bin" | Out-Null
        $Wheels = 'install', '--no-index', '--require-hashes', '--no-deps', '--find-links', "$Here\wheels",
            '-r', "$Here\requirements.lock"
        if ($Uv) {
            $env:UV_CACHE_DIR = "$Prefix\cache.$PID"
            Invoke-Step 'Making an environment' $Uv @('-q', 'venv', '--python', $Interpreter, $Fresh)
            Invoke-Step 'Installing the wheels' $Uv (@('-q', 'pip') + $Wheels +
                @('--compile-bytecode', '--python', "$Fresh\Scripts\python.exe"))
        } else {
            Invoke-Step 'Making an environment' $Interpreter @('-I', '-m', 'venv', $Fresh)
            Invoke-Step 'Installing the wheels' "$Fresh\Scripts\python.exe" (@('-I', '-m', 'pip',
                '--no-cache-dir', '-q', '--disable-pip-version-check') + $Wheels)
        }
        Invoke-Step 'Starting the new corral' "$Fresh\Scripts\corral.exe" @('--version')
        $Lines = @('corral receipt 1', 'method bundle', "prefix $Prefix", "tree $Fresh",
            "file $Prefix\bin\corral.cmd")
        $Lines += @(Read-Receipt 'pack' | ForEach-Object { "pack $_" }) + @("file $Prefix\install.ps1")
        Write-Lines "$Receipt.new" $Lines
        Copy-Item -LiteralPath $PSCommandPath -Destination "$Prefix\install.ps1" -Force
        Move-Item -LiteralPath "$Receipt.new" -Destination $Receipt -Force
        # %~dp0 is its own folder, whatever letters the path is written with.
        $Start = "@`"%~dp0..\$(Split-Path -Leaf $Fresh)\Scripts\corral.exe`" %*"
        Write-Lines "$Prefix\bin\corral.cmd.new" @($Start)
        Move-Item -LiteralPath "$Prefix\bin\corral.cmd.new" -Destination "$Prefix\bin\corral.cmd" -Force
        $Done = $true
    } catch [IO.IOException], [UnauthorizedAccessException] {
        Stop-Here 1 "$Prefix cannot be written: $($_.Exception.Message)" 'Nothing was changed.'
    } finally {
        Remove-Item -LiteralPath "$Prefix\cache.$PID" -Recurse -Force -ErrorAction SilentlyContinue
        if (-not $Done) { Remove-Item -LiteralPath $Fresh -Recurse -Force -ErrorAction SilentlyContinue }
    }
    Get-ChildItem -LiteralPath $Prefix -Directory -Filter 'env-*' | Where-Object { $_.FullName -ne $Fresh } |
        Remove-Item -Recurse -Force -ErrorAction SilentlyContinue
    # Into the Start menu, and into the receipt: it names the program of this version.
    $Menu = & "$Here\shortcut.ps1" -Program "$Fresh\Scripts\corral.exe"
    if ($Menu) { [IO.File]::AppendAllText($Receipt, "menu $Menu`r`n") }
    & "$Fresh\Scripts\python.exe" -I "$Here\extras.py" $Here $Receipt
    if ($LASTEXITCODE -ne 0) { exit $LASTEXITCODE }
    Write-Host "corral $($Manifest.version) is installed: $Prefix\bin\corral.cmd"
    if (";$env:Path;" -notlike "*;$Prefix\bin;*") { Write-Host "  hint: $Prefix\bin is not in your Path yet." }
    Write-Host "  install.ps1 -Uninstall in $Prefix removes it again."
}

function Find-Accelerator {
    if ($Accelerator -and $Accelerator -ne 'cuda') { return $Accelerator }
    $System = "$env:SystemRoot\System32"
    if ($Accelerator -or (Test-Path -LiteralPath "$System\nvcuda.dll")) {
        $Driver = 121
        if (Get-Command nvidia-smi -ErrorAction SilentlyContinue) {
            if ("$(& nvidia-smi)" -match 'CUDA Version: *(\d+)\.(\d)') { $Driver = [int]($Matches[1] + $Matches[2]) }
        }
        foreach ($Known in $CudaIndexes) { if ($Driver -ge $Known) { return "cu$Known" } }
    } elseif (Test-Path -LiteralPath "$System\vulkan-1.dll") { return 'vulkan' }
    return 'cpu'
}

function Get-Promised([string]$Url) {
    # uv compares nothing with the sha256 in a URL: what it gets is what was compared here.
    $Name = ($Url -split '[?#]')[0].Split('/')[-1]
    if ($Name -notlike 'corral-*.whl') { Stop-Here 2 "$Url is no wheel of corral" }
    New-Item -ItemType Directory -Force -Path $Prefix | Out-Null
    $Kept = "$Prefix\$Name"
    try { Invoke-WebRequest -UseBasicParsing -Uri $Url -OutFile "$Kept.new" }
    catch { Stop-Here 1 "$Url could not be fetched: $($_.Exception.Message)" 'Nothing was changed.' }
    if ((Get-Digest "$Kept.new") -ne $Sha256) {
        Remove-Item -LiteralPath "$Kept.new"
        Stop-Here 7 "$Url is not what was promised: its sha256 is another one"
    }
    Move-Item -LiteralPath "$Kept.new" -Destination $Kept -Force
    return $Kept
}

function Install-Wheel {
    $Found = $Wheel
    if (-not $Found) {
        $Found = Get-ChildItem -LiteralPath $Here -Filter 'corral-*-py3-none-any.whl' |
            Select-Object -First 1 -ExpandProperty FullName
    }
    if (-not $Found) { Stop-Here 2 'Which corral? There is no wheel of it beside this script' 'Name one: -Wheel FILE_OR_URL' }
    if ($Found -like '*://*') { }
    elseif (-not (Test-Path -LiteralPath $Found)) { Stop-Here 3 "$Found is not there" }
    elseif ($Sha256 -and (Get-Digest $Found) -ne $Sha256) {
        Stop-Here 7 "$Found is not what was promised: its sha256 is another one"
    }
    if (-not $Index) { $Index = "$EngineIndex/$(Find-Accelerator)" }
    # Never minutes of compiling that nobody asked for: without a wheel it ends.
    if (Get-Command uv -ErrorAction SilentlyContinue) {
        $Method = 'uv'; $Own = "$(& uv tool dir)\corral\"
        $Arguments = @('tool', 'install', '--reinstall', '--index', $Index)
        if ($Force) { $Arguments += '--force' }
        if (-not $Compile) { $Arguments += @('--no-build-package', $Engine) }
    } elseif (Get-Command pipx -ErrorAction SilentlyContinue) {
        $Method = 'pipx'; $Own = "$(& pipx environment --value PIPX_LOCAL_VENVS)\corral\"
        $Only = if ($Compile) { '' } else { " --only-binary=$Engine" }
        $Arguments = @('install', '--force', "--pip-args=--extra-index-url=$Index$Only")
    } else { Stop-Here 1 'Neither uv nor pipx is here' 'Install one of them, or take an offline bundle.' }
    Assert-OwnWay $Method
    if ($Python) { $Arguments += @('--python', $Python) }
    Write-Host "corral, from $Found, by ${Method}; $Engine from $Index"
    Confirm-Plan
    Stop-IfRunning
    $Kept = @(Read-Receipt 'file' | Where-Object { $_ -like '*.whl' })
    if ($Sha256 -and $Found -like '*://*') { $Found = Get-Promised $Found; $Kept += $Found }
    & $Method @Arguments $Found
    if ($LASTEXITCODE -ne 0) {
        Stop-Here 1 'corral was not installed' 'If there is no wheel of the engine: -Accelerator cpu, -Index URL, or -Compile.'
    }
    New-Item -ItemType Directory -Force -Path $Prefix | Out-Null
    $Lines = @('corral receipt 1', "method $Method", "prefix $Prefix", "env $Own", "file $Prefix\install.ps1")
    $Lines += @($Kept | Select-Object -Unique | ForEach-Object { "file $_" })
    Write-Lines $Receipt $Lines
    # It cannot be copied onto itself, which is where it is started from to install again.
    if ($PSCommandPath -ne "$Prefix\install.ps1") {
        Copy-Item -LiteralPath $PSCommandPath -Destination "$Prefix\install.ps1" -Force
    }
    Write-Host "corral is installed. install.ps1 -Uninstall in $Prefix removes it again."
}

function Uninstall-Corral {
    if (-not (Test-Path -LiteralPath $Receipt)) {
        Stop-Here 3 "Nothing is installed here: there is no $Receipt" 'Another place: -Prefix DIR'
    }
    $Paths = @(Read-Receipt 'tree') + @(Read-Receipt 'pack') + @(Read-Receipt 'file')
    foreach ($Path in $Paths) {
        $Inside = $Path.StartsWith("$Prefix\", [StringComparison]::OrdinalIgnoreCase)
        if ($Path -match '\\\.\.\\' -or -not ($Inside -or $Path -match '\\engines\\engine-[^\\]+$')) {
            Stop-Here 7 "$Receipt names ${Path}: it is not as it was written" 'Nothing was removed.'
        }
    }
    # Nobody else writes a link of that name.
    $Paths += @(Read-Receipt 'menu' | Where-Object { (Split-Path -Leaf $_) -eq 'corral.lnk' })
    Write-Host 'This goes:'
    $Paths + @(Read-Receipt 'env') | ForEach-Object { Write-Host "  $_" }
    Write-Host 'This stays where it lies: conversations, settings, models and logs.'
    Confirm-Plan
    Stop-IfRunning
    $Method = "$(Read-Receipt 'method')"
    if ($Method -eq 'uv' -or $Method -eq 'pipx') {
        if ($Method -eq 'uv') { & uv tool uninstall corral } else { & pipx uninstall corral }
        # It fails, too, where somebody asked for that already.
        if ($LASTEXITCODE -ne 0 -and (Test-Path -LiteralPath "$(Read-Receipt 'env')")) {
            Stop-Here 1 "$Method uninstall failed, as the lines above say" 'Nothing was changed.'
        }
    }
    foreach ($Path in $Paths) {
        if (Test-Path -LiteralPath $Path) { Remove-Item -LiteralPath $Path -Recurse -Force }
    }
    Remove-Item -LiteralPath $Receipt -Force
    foreach ($Folder in "$Prefix\bin", $Prefix) {
        if ((Test-Path -LiteralPath $Folder) -and -not (Get-ChildItem -LiteralPath $Folder -Force)) {
            # The folder that somebody stands in cannot go.
            Remove-Item -LiteralPath $Folder -ErrorAction SilentlyContinue
        }
    }
    Write-Host 'corral is removed.'
}

$Here = $PSScriptRoot
if (-not $Prefix -and (Test-Path -LiteralPath "$Here\receipt")) { $Prefix = $Here }
if (-not $Prefix) { $Prefix = Join-Path $env:LOCALAPPDATA 'Programs\corral' }
$Prefix = $ExecutionContext.SessionState.Path.GetUnresolvedProviderPathFromPSPath($Prefix).TrimEnd('\')
$Receipt = "$Prefix\receipt"
if ($Uninstall) { Uninstall-Corral }
elseif ((Test-Path -LiteralPath "$Here\SHA256SUMS") -and (Test-Path -LiteralPath "$Here\wheels")) { Install-Bundle }
else { Install-Wheel }
